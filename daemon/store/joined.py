"""Feedback and the answer it is about: looked for until it is found, whichever of the two came first."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Table, bindparam, func, inspect, select, update

from daemon.store.hints import unindexed
from daemon.store.tables import FeedbackRow, PositionRow, SpanRow, TraceRow
from policies.feedback import About, FeedbackEvent
from policies.records import Split

FEEDBACK = cast(Table, inspect(FeedbackRow).local_table)
TRACE = cast(Table, inspect(TraceRow).local_table)
SPAN = cast(Table, inspect(SpanRow).local_table)
POSITION = cast(Table, inspect(PositionRow).local_table)

AT_ONCE = 500
GIVEN_UP_S = 30 * 86_400.0
"""So old, feedback without an answer is no longer looked at: it stays stored."""
SOON_S = 1.0


@dataclass(frozen=True, slots=True)
class Joined:
    """How much was looked at, and the answers (by trace) of which something new is said."""

    looked_at: int
    answers: frozenset[int]


def join(connection: Connection, now: float) -> Joined:
    """Finds the answers of the feedback that is due, most overdue first.

    One that is not there yet is looked for again after half as long as the feedback is old, so that what
    never comes costs little.
    """
    columns = (FEEDBACK.c[name] for name in ("id", "source", "about", "target", "stored_at"))
    due = connection.execute(
        select(*columns).where(FEEDBACK.c.due_at <= now).order_by(FEEDBACK.c.due_at).limit(AT_ONCE)
    ).all()
    found = _answers(connection, due)
    changes = []
    for row in due:
        answer, age = found.get(row.id), max(0.0, now - row.stored_at)
        due_at = None if answer is not None or age > GIVEN_UP_S else now + max(SOON_S, age / 2)
        joined_at = None if answer is None else now
        changes.append({"row": row.id, "answer_id": answer, "due_at": due_at, "joined_at": joined_at})
    if changes:
        change = update(FEEDBACK).where(FEEDBACK.c.id == bindparam("row"))
        names = ("answer_id", "due_at", "joined_at")
        connection.execute(change.values({name: bindparam(name) for name in names}), changes)
    return Joined(len(due), frozenset(found.values()))


def any_due(connection: Connection, now: float) -> bool:
    """Whether there is feedback whose answer is to be looked for."""
    return (
        connection.execute(select(FEEDBACK.c.id).where(FEEDBACK.c.due_at <= now).limit(1)).first() is not None
    )


def said_of(connection: Connection, trace_ids: Sequence[int]) -> dict[int, list[FeedbackEvent]]:
    """What was said of each answer and is joined with it, or with another revision of its event, in the order
    of storing; an answer of which nothing is said is left out.
    """
    found: dict[int, list[FeedbackEvent]] = {}
    revision = TRACE.alias("revision")
    same = (revision.c.source == TRACE.c.source) & (revision.c.event_id == TRACE.c.event_id)
    query = (
        select(TRACE.c.id, FEEDBACK.c.ts, FEEDBACK.c.payload)
        .select_from(TRACE.join(revision, same).join(FEEDBACK, FEEDBACK.c.answer_id == revision.c.id))
        .order_by(FEEDBACK.c.id)
    )
    for chunk in _chunks(list(trace_ids)):
        for row in connection.execute(query.where(TRACE.c.id.in_(chunk))):
            event = FeedbackEvent.model_validate(row.payload | {"ts": row.ts})
            found.setdefault(row.id, []).append(event)
    return found


def newest_revisions(connection: Connection, trace_ids: Sequence[int]) -> list[int]:
    """Of the events of these traces the newest revisions, newest first."""
    found: set[int] = set()
    newer = TRACE.alias("newer")
    same = (newer.c.source == TRACE.c.source) & (newer.c.event_id == TRACE.c.event_id)
    query = select(func.max(newer.c.id)).select_from(TRACE.join(newer, same)).group_by(TRACE.c.id)
    for chunk in _chunks(list(trace_ids)):
        found.update(connection.scalars(query.where(TRACE.c.id.in_(chunk))))
    return sorted(found, reverse=True)


def answered(connection: Connection, *, limit: int) -> list[int]:
    """The answers that the newest `limit` joined events are about."""
    query = select(FEEDBACK.c.answer_id).where(FEEDBACK.c.joined_at > 0)
    return list(dict.fromkeys(connection.scalars(query.order_by(FEEDBACK.c.joined_at.desc()).limit(limit))))


def joined_since(connection: Connection, at: float | None, *, most: int) -> set[int]:
    """At most `most` answers of the train split that were joined with feedback after `at` (None: ever)."""
    query = (
        select(FEEDBACK.c.answer_id)
        .join(TRACE, TRACE.c.id == FEEDBACK.c.answer_id)
        .where(unindexed(TRACE.c.split) == Split.TRAIN.value)
        .where(FEEDBACK.c.joined_at > (0.0 if at is None else at))
        .distinct()
    )
    return set(connection.scalars(query.limit(most)))


def last_joined(connection: Connection) -> tuple[float | None, int | None]:
    """Another value as soon as more is joined."""
    query = select(FEEDBACK.c.joined_at, FEEDBACK.c.id).where(FEEDBACK.c.joined_at > 0)
    row = connection.execute(
        query.order_by(FEEDBACK.c.joined_at.desc(), FEEDBACK.c.id.desc()).limit(1)
    ).first()
    return (None, None) if row is None else (row.joined_at, row.id)


def _answers(connection: Connection, due: Sequence[Any]) -> dict[int, int]:
    """By feedback, the newest revision of the answer that it names; of several sources' its own."""
    if not due:
        return {}
    sources = {*connection.scalars(select(POSITION.c.source).distinct()), *(row.source for row in due)}
    by_span = _of_spans(connection, sources, [row.target for row in due if row.about == About.SPAN])
    by_trace = _of_traces(connection, sources, [row.target for row in due if row.about == About.TRACE])
    direct = [row.target for row in due if row.about in (About.EVENT, About.SPAN)]
    stored = _stored(connection, sources, sorted({*direct, *by_span.values(), *by_trace.values()}))
    found: dict[int, int] = {}
    for row in due:
        named = by_trace.get(row.target) if row.about == About.TRACE else row.target
        other = by_span.get(row.target) if row.about == About.SPAN else None
        answers = stored.get(named or "") or stored.get(other or "")
        if answers:
            found[row.id] = answers.get(row.source) or max(answers.values())
    return found


def _of_spans(connection: Connection, sources: Collection[str], targets: Sequence[str]) -> dict[str, str]:
    """By `TRACE:SPAN`, the event that the span became."""
    traces = {target.rpartition(":")[0] for target in targets}
    query = select(SPAN.c.trace_id, SPAN.c.span_id, SPAN.c.event_id)
    query = query.where(SPAN.c.source.in_(sources), SPAN.c.event_id.is_not(None))
    rows = (
        row
        for chunk in _chunks(sorted(traces))
        for row in connection.execute(query.where(SPAN.c.trace_id.in_(chunk)))
    )
    return {f"{row.trace_id}:{row.span_id}": row.event_id for row in rows}


def _of_traces(connection: Connection, sources: Collection[str], targets: Sequence[str]) -> dict[str, str]:
    """By trace of spans, the event of its last answer: what is said of a trace is said of how it ended."""
    same = (TRACE.c.source == SPAN.c.source) & (TRACE.c.event_id == SPAN.c.event_id)
    query = select(SPAN.c.trace_id, SPAN.c.event_id).join(TRACE, same)
    query = query.where(SPAN.c.source.in_(sources)).order_by(TRACE.c.ts, TRACE.c.id)
    rows = (
        row
        for chunk in _chunks(sorted(set(targets)))
        for row in connection.execute(query.where(SPAN.c.trace_id.in_(chunk)))
    )
    return {row.trace_id: row.event_id for row in rows}


def _stored(
    connection: Connection, sources: Collection[str], events: Sequence[str]
) -> dict[str, dict[str, int]]:
    """By event id and source, the newest revision."""
    found: dict[str, dict[str, int]] = {}
    query = select(TRACE.c.event_id, TRACE.c.source, func.max(TRACE.c.id).label("id"))
    query = query.where(TRACE.c.source.in_(sources)).group_by(TRACE.c.event_id, TRACE.c.source)
    for chunk in _chunks(events):
        for row in connection.execute(query.where(TRACE.c.event_id.in_(chunk))):
            found.setdefault(row.event_id, {})[row.source] = row.id
    return found


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))
