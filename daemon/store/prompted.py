"""Prompts of the log to learn on, each once, and what judges gave the answers to them.

All are of the train split. A prompt that was refused or killed what sampled it is none: it would do so again.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Select, Table, func, inspect, literal, select

from daemon.store.answers import LOOKED_AT, usable
from daemon.store.hints import unindexed
from daemon.store.preferences import IDS, contributor
from daemon.store.tables import CandidateRow, TraceRow, VerdictRow
from policies.judging.prompts import MAX_ANSWER
from policies.prompted import Known, Prompt, replayed
from policies.records import Message, Origin, Role, Split, Tokens, Trace
from policies.selection import Offer, Reason

TRACE = cast(Table, inspect(TraceRow).local_table)
CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
VERDICT = cast(Table, inspect(VerdictRow).local_table)

SIBLINGS = 16
"""Newest events with the same prompt whose answers are looked at."""
MOST_ANSWERS = 64
"""Newest answers to one prompt."""
_OFFERED = (
    *("id", "cluster", "source", "event_id", "revision", "session", "subject", "split", "ts", "stored_at"),
)


def newest(
    connection: Connection, *, limit: int, tag: str | None = None, learned: Collection[int] = ()
) -> tuple[list[Offer], dict[Reason, int]]:
    """The prompts of the newest `limit` train events, and of those of `learned`: the newest event of each
    cluster, newest first, and how many others there were, by why. An offer's number is its event's.

    `tag` says under which tag of an event its topic is. `learned` are events that a run learned from.
    """
    rows = list(connection.execute(_train(tag).order_by(TRACE.c.id.desc()).limit(limit)))
    known = frozenset(learned)
    older = sorted(known.difference(row.id for row in rows), reverse=True)
    for part in _parts(older):
        rows += connection.execute(_train(tag).where(TRACE.c.id.in_(part)).order_by(TRACE.c.id.desc()))
    seen = {row.cluster for row in rows if row.id in known}
    offers: list[Offer] = []
    left_out: dict[Reason, int] = {}
    events: set[tuple[str, str]] = set()
    clusters: set[str] = set()
    for row in rows:
        event = (row.source, row.event_id)
        why = Reason.REVISED if event in events else Reason.REPEATED if row.cluster in clusters else None
        events.add(event)
        clusters.add(row.cluster)
        if why is not None:
            left_out[why] = left_out.get(why, 0) + 1
            continue
        at = min(row.ts, row.stored_at)
        offers.append(Offer(contributor(row), id=row.id, at=at, topic=row.topic, seen=row.cluster in seen))
    return offers, left_out


def written(connection: Connection, ids: Sequence[int]) -> list[Prompt]:
    """The prompts of these events as a snapshot holds them, in the order asked."""
    found: dict[int, Prompt] = {}
    for part in _parts(ids):
        found |= _written(connection, part)
    return [found[each] for each in ids]


def since(connection: Connection, at: float | None, *, most: int) -> int:
    """How many of the newest `LOOKED_AT` events are of the train split and were stored after `at` (None:
    ever), at most `most`.
    """
    every = TRACE.alias()
    last = select(func.max(every.c.id)).scalar_subquery()
    query = select(TRACE.c.id).where(TRACE.c.id > last - LOOKED_AT, *_usable_trace())
    some = (query if at is None else query.where(TRACE.c.stored_at > at)).limit(most).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def newest_id(connection: Connection) -> int | None:
    """The newest event, of whatever split."""
    found: int | None = connection.scalar(select(func.max(TRACE.c.id)))
    return found


def _usable_trace() -> tuple[Any, ...]:
    return (unindexed(TRACE.c.split) == Split.TRAIN.value, TRACE.c.refused.is_(None))


def _train(tag: str | None) -> Select[Any]:
    topic = literal("") if tag is None else func.coalesce(TRACE.c.payload["tags"][tag].as_string(), "")
    return select(*(TRACE.c[name] for name in _OFFERED), topic.label("topic")).where(*_usable_trace())


def _written(connection: Connection, ids: Sequence[int]) -> dict[int, Prompt]:
    query = select(TRACE.c.id, TRACE.c.cluster, TRACE.c.payload).where(TRACE.c.id.in_(ids))
    asked = {row.id: (row.cluster, _prompt(row)) for row in connection.execute(query)}
    siblings = {each: _siblings(connection, cluster, each) for each, (cluster, _) in asked.items()}
    answers = _answers(connection, sorted({one for some in siblings.values() for one in some}))
    return {
        each: prompt.model_copy(
            update={
                "answers": tuple(
                    known
                    for one in siblings[each]
                    for other, known in answers.get(one, ())
                    if other == prompt.asked
                )[:MOST_ANSWERS]
            }
        )
        for each, (_, prompt) in asked.items()
    }


def _prompt(row: Any) -> Prompt:
    trace = Trace.model_validate(row.payload)
    prompt, _ = replayed(trace.messages, trace.output)
    return Prompt(trace=row.id, prompt=prompt, tools=trace.tools)


def _siblings(connection: Connection, cluster: str, itself: int) -> list[int]:
    """The event and the newest others of its cluster, which ask the same or nearly the same."""
    query = select(TRACE.c.id).where(TRACE.c.cluster == cluster, TRACE.c.id != itself)
    return [itself, *connection.scalars(query.order_by(TRACE.c.id.desc()).limit(SIBLINGS - 1))]


def _answers(connection: Connection, trace_ids: Sequence[int]) -> dict[int, list[tuple[str, Known]]]:
    """By event, its answers, newest first, each with what it answers."""
    found: dict[int, list[tuple[str, Known]]] = {}
    names = ("id", "trace_id", "output", "text", "tokens", "truncated")
    query = (
        select(*(CANDIDATE.c[name] for name in names), TRACE.c.payload)
        .join(TRACE, TRACE.c.id == CANDIDATE.c.trace_id)
        .where(~CANDIDATE.c.unshown, ~TRACE.c.incomplete, CANDIDATE.c.origin != Origin.SOUNDED.value)
        .order_by(CANDIDATE.c.id.desc())
    )
    for part in _parts(trace_ids):
        rows = connection.execute(query.where(CANDIDATE.c.trace_id.in_(part))).all()
        rewards = _rewards(connection, [row.id for row in rows if len(row.text) <= MAX_ANSWER])
        for row in rows:
            found.setdefault(row.trace_id, []).append(_known(row, rewards.get(row.id)))
    return found


def _known(row: Any, reward: float | None) -> tuple[str, Known]:
    trace = Trace.model_validate(row.payload)
    output = tuple(Message.model_validate(message) for message in row.output)
    prompt, answer = replayed(trace.messages, output)
    whole = len(answer) == len(output)
    tokens = Tokens.model_validate(row.tokens) if whole and row.tokens is not None else None
    known = Known(answer=answer, reward=reward, tokens=tokens, truncated=row.truncated)
    return Prompt(prompt=prompt, tools=trace.tools).asked, known


def _rewards(connection: Connection, candidate_ids: Sequence[int]) -> dict[int, float]:
    """By candidate: what the large judge gave where it did, else the small one, each the last time. The
    gate's never counts.
    """
    columns = (VERDICT.c.candidate_id, VERDICT.c.role, VERDICT.c.reward)
    found: dict[str, dict[int, float]] = {Role.SMALL.value: {}, Role.LARGE.value: {}}
    for part in _parts(candidate_ids):
        query = select(*columns).where(VERDICT.c.candidate_id.in_(part), *usable()).order_by(VERDICT.c.id)
        for row in connection.execute(query):
            found[row.role][row.candidate_id] = row.reward
    return found[Role.SMALL.value] | found[Role.LARGE.value]


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + IDS] for start in range(0, len(ids), IDS))
