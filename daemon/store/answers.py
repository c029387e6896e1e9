"""Answers that may be learned from one by one: what users said, judges' scores, the best, corrections.

All are of the train split, newest first.
"""

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, case, false, func, inspect, select

from daemon.store import joined
from daemon.store.hints import unindexed
from daemon.store.preferences import IDS, contributor
from daemon.store.tables import CandidateRow, PreferenceRow, TraceRow, VerdictRow
from policies.answers import Kind
from policies.corrections import weight_of
from policies.feedback import FeedbackEvent, Remark, of_answer
from policies.recipes import KtoRecipe
from policies.records import Message, Origin, Role, Split, Tokens, Trace
from policies.states import Purpose
from policies.thumbs import Offered, is_thumb
from policies.worth import FeedbackRule

TRACE = cast(Table, inspect(TraceRow).local_table)
CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
VERDICT = cast(Table, inspect(VerdictRow).local_table)
PREFERENCE = cast(Table, inspect(PreferenceRow).local_table)

LOOKED_AT = 100_000
"""Newest events that are asked for feedback when what is new is counted: that happens every few seconds."""
SCORING = (Role.SMALL.value, Role.LARGE.value)
"""Judges whose scores teach. The gate's never do."""


def thumbs(
    connection: Connection,
    recipe: KtoRecipe,
    rule: FeedbackRule,
    *,
    limit: int,
    among: Sequence[int] | None = None,
) -> list[Offered]:
    """Logged answers that users said something of that may be worth something, in the log or in events of
    its own: of the newest `limit` of each, or of the candidates `among`.
    """
    rows = _spoken_of(connection, limit=limit, among=among)
    said = joined.said_of(connection, [row.trace for row in rows])
    offers = (_offered(row, "thumb", said=said.get(row.trace, ())) for row in rows)
    return [
        offer
        for offer in offers
        if any(is_thumb(each, recipe) or rule.weights.get(each.kind) for each in offer.told)
    ]


def _spoken_of(connection: Connection, *, limit: int, among: Sequence[int] | None) -> list[Any]:
    """Logged answers that may have feedback, newest first, each event's newest revision before others."""
    logged = (
        _answers(TRACE.c.id.label("trace"))
        .where(CANDIDATE.c.origin == Origin.LOGGED.value)
        .order_by(TRACE.c.id.desc())
    )
    if among is not None:
        return list(_rows(connection, logged, limit=limit, among=among))
    rows = list(connection.execute(logged.where(_commented()).limit(limit)))
    known = {row.trace for row in rows}
    told = joined.newest_revisions(connection, joined.answered(connection, limit=limit))
    for part in _parts([each for each in told if each not in known]):
        rows += connection.execute(logged.where(TRACE.c.id.in_(part)))
    return sorted(rows, key=lambda row: row.trace, reverse=True)


def scores(connection: Connection, *, limit: int, among: Sequence[int] | None = None) -> list[Offered]:
    """Answers with a judge's reward, each once: by the large judge where it has one, else by the newest.
    `limit` is of rewards, unless they are those of the candidates `among`.
    """
    columns = (VERDICT.c.id.label("verdict"), VERDICT.c.role, VERDICT.c.reward)
    query = (
        _answers(*columns)
        .join(VERDICT, VERDICT.c.candidate_id == CANDIDATE.c.id)
        .where(*usable())
        .order_by(VERDICT.c.id.desc())
    )
    best: dict[int, Any] = {}
    for row in _rows(connection, query, limit=limit, among=among):
        before = best.get(row.candidate)
        if before is None or (row.role, before.role) == (Role.LARGE.value, Role.SMALL.value):
            best[row.candidate] = row
    return [_offered(row, "score", row.reward) for row in best.values()]


def corrections(
    connection: Connection, rule: FeedbackRule, *, limit: int, among: Sequence[int] | None = None
) -> list[Offered]:
    """What people wrote in the place of an answer and stands, each with what its kind is worth: the newest
    `limit`, or of the candidates `among`.
    """
    query = (
        _answers(CANDIDATE.c.batch)
        .where(CANDIDATE.c.origin == Origin.CORRECTED.value, CANDIDATE.c.withdrawn.is_(false()))
        .order_by(CANDIDATE.c.id.desc())
    )
    offers = (
        replace(_offered(row, "correction"), weight=weight_of(row.batch, rule))
        for row in _rows(connection, query, limit=limit, among=among)
    )
    return [offer for offer in offers if offer.weight]


def choosing(connection: Connection, candidate_ids: Sequence[int]) -> list[int]:
    """The preferences that chose one of these candidates, newest first."""
    query = select(PREFERENCE.c.id).where(PREFERENCE.c.weight > 0)
    found = [
        each
        for part in _parts(candidate_ids)
        for each in connection.scalars(query.where(PREFERENCE.c.chosen_id.in_(part)))
    ]
    return sorted(found, reverse=True)


def chosen(connection: Connection, preference_ids: Sequence[int]) -> list[Offered]:
    """The better answers of preferences, in the order asked, with the reward they were chosen by."""
    query = (
        _answers(PREFERENCE.c.id.label("preference"), PREFERENCE.c.verdict_ids)
        .join(PREFERENCE, PREFERENCE.c.chosen_id == CANDIDATE.c.id)
        .where(CANDIDATE.c.origin != Origin.CORRECTED.value)
    )
    rows: dict[int, Any] = {}
    for part in _parts(preference_ids):
        rows |= {row.preference: row for row in connection.execute(query.where(PREFERENCE.c.id.in_(part)))}
    rewards: dict[int, float | None] = {}
    for part in _parts([verdict for row in rows.values() for verdict in row.verdict_ids[:1]]):
        wanted = select(VERDICT.c.id, VERDICT.c.reward).where(VERDICT.c.id.in_(part))
        rewards |= {row.id: row.reward for row in connection.execute(wanted)}
    found = [rows[each] for each in preference_ids if each in rows]
    return [
        _offered(row, "best", rewards.get(row.verdict_ids[0]) if row.verdict_ids else None) for row in found
    ]


def giving(connection: Connection, events: Sequence[int], candidate_ids: Collection[int]) -> int:
    """How many of these events have one of the candidates."""
    query = select(CANDIDATE.c.trace_id, CANDIDATE.c.id)
    found = {
        row.trace_id
        for part in _parts(events)
        for row in connection.execute(query.where(CANDIDATE.c.trace_id.in_(part)))
        if row.id in candidate_ids
    }
    return len(found)


def commented_since(connection: Connection, at: float | None, *, most: int) -> int:
    """How many logged answers came with feedback or were joined with it after `at` (None: ever), at most
    `most` of each.
    """
    own = set(connection.scalars(_commenting(at).limit(most)))
    return len(own | joined.joined_since(connection, at, most=most))


def last_commented(connection: Connection) -> Hashable:
    """The newest event with feedback, of the newest LOOKED_AT, and the newest that was joined."""
    return _last(connection, _commenting(), TRACE.c.id), joined.last_joined(connection)


def scored_since(connection: Connection, at: float | None, *, most: int) -> int:
    """How many rewards were given after `at` (None: ever), at most `most`."""
    return _count(connection, _since(_scoring(), VERDICT.c.created_at, at), most)


def last_scored(connection: Connection) -> int | None:
    """The newest verdict with a reward."""
    return _last(connection, _scoring(), VERDICT.c.id)


def corrected_since(connection: Connection, at: float | None, *, most: int) -> int:
    """How many corrections were stored after `at` (None: ever), at most `most`."""
    return _count(connection, _since(_correcting(), CANDIDATE.c.created_at, at), most)


def last_corrected(connection: Connection) -> int | None:
    """The newest correction."""
    return _last(connection, _correcting(), CANDIDATE.c.id)


def _commenting(at: float | None = None) -> Select[Any]:
    """In this order: a payload is read only where its event is among the newest, and new."""
    every = TRACE.alias()
    newest = select(func.max(every.c.id)).scalar_subquery()
    fresh = TRACE.c.stored_at > (-1.0 if at is None else at)
    commented = case((fresh, case((_commented(), 1), else_=0)), else_=0) == 1
    return select(TRACE.c.id).where(TRACE.c.id > newest - LOOKED_AT, _training(), commented)


def _scoring() -> Select[Any]:
    joined = VERDICT.join(TRACE, TRACE.c.id == VERDICT.c.trace_id)
    return select(VERDICT.c.id).select_from(joined).where(_training(), *usable())


def _correcting() -> Select[Any]:
    joined = CANDIDATE.join(TRACE, TRACE.c.id == CANDIDATE.c.trace_id)
    corrected = (CANDIDATE.c.origin == Origin.CORRECTED.value) & CANDIDATE.c.withdrawn.is_(false())
    return select(CANDIDATE.c.id).select_from(joined).where(_training(), corrected)


def _since(query: Select[Any], column: ColumnElement[Any], at: float | None) -> Select[Any]:
    return query if at is None else query.where(column > at)


def _count(connection: Connection, query: Select[Any], most: int) -> int:
    some = query.limit(most).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def _last(connection: Connection, query: Select[Any], column: ColumnElement[Any]) -> int | None:
    found: int | None = connection.scalar(query.order_by(column.desc()).limit(1))
    return found


def _answers(*columns: Any) -> Select[Any]:
    own = (
        *(
            TRACE.c[name]
            for name in ("source", "event_id", "session", "subject", "ts", "stored_at", "payload")
        ),
        *(CANDIDATE.c.id.label("candidate"), CANDIDATE.c.output, CANDIDATE.c.tokens, CANDIDATE.c.truncated),
    )
    joined = TRACE.join(CANDIDATE, CANDIDATE.c.trace_id == TRACE.c.id)
    return select(*own, *columns).select_from(joined).where(_training())


def _training() -> ColumnElement[bool]:
    return and_(unindexed(TRACE.c.split) == Split.TRAIN.value, TRACE.c.incomplete.is_(False))


def _commented() -> ColumnElement[bool]:
    commented: ColumnElement[bool] = TRACE.c.payload["feedback"].as_string() != "[]"
    return commented


def usable() -> tuple[ColumnElement[bool], ...]:
    """What a verdict is whose reward teaches."""
    return (
        VERDICT.c.kind == "score",
        VERDICT.c.purpose != Purpose.SOUNDING,
        VERDICT.c.role.in_(SCORING),
        VERDICT.c.reward.is_not(None),
        VERDICT.c.abstention.is_(None),
    )


def _rows(
    connection: Connection, query: Select[Any], *, limit: int, among: Sequence[int] | None
) -> Iterator[Any]:
    """The first `limit` rows, or all of the candidates `among`."""
    if among is None:
        yield from connection.execute(query.limit(limit))
        return
    for part in _parts(among):
        yield from connection.execute(query.where(CANDIDATE.c.id.in_(part)))


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + IDS] for start in range(0, len(ids), IDS))


def _offered(
    row: Any, kind: Kind, reward: float | None = None, *, said: Sequence[FeedbackEvent] = ()
) -> Offered:
    trace = Trace.model_validate(row.payload)
    told = of_answer(trace, said) if kind == "thumb" else ()
    return Offered(
        kind=kind,
        candidate=row.candidate,
        event=f"{row.source}:{row.event_id}",
        contributor=contributor(row),
        prompt=trace.messages,
        answer=tuple(Message.model_validate(message) for message in row.output),
        tools=trace.tools,
        tokens=None if row.tokens is None else Tokens.model_validate(row.tokens),
        truncated=row.truncated,
        reward=reward,
        told=tuple(Remark(each.form, each.said) for each in told),
        at=min(row.ts, row.stored_at),
        tags=trace.tags,
    )
