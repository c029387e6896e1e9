"""Candidates: which prompts lack sampled answers, and the answers each prompt has."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Integer, Select, Table, func, inspect, select, update
from sqlalchemy import cast as cast_sql

from daemon.store.inserts import insert_new
from daemon.store.tables import CandidateRow, JudgementRow, TraceRow
from policies.records import Message, Origin, Role, Sampled, Split, Trace, text_of

TRACE = cast(Table, inspect(TraceRow).local_table)
CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
JUDGEMENT = cast(Table, inspect(JudgementRow).local_table)

SAMPLED_SPLITS = (Split.TRAIN.value, Split.CALIBRATE.value, Split.AUDIT.value)
"""What is learned from, and what people label. Gate prompts are answered in evaluations only."""


CUT_OF = 10_000
"""Newest answers of which those that were cut off are counted."""


@dataclass(frozen=True, slots=True)
class StoredPrompt:
    """A stored trace's prompt, as a sampler needs it. `trial`: see `policies/trials.py`."""

    trace_id: int
    event_id: str
    cluster: str
    split: Split
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    trial: int | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many prompts lack sampled answers, and when the oldest of those counted was stored."""

    prompts: int
    oldest: float | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored candidate. `batch` is '' for the logged answer."""

    id: int
    trace_id: int
    origin: Origin
    batch: str
    sample: int
    text: str


@dataclass(frozen=True, slots=True)
class Cut:
    """How many answers were cut off by a limit of length, of how many."""

    logged: tuple[int, int]
    sampled: tuple[int, int]


def prompt_of(row: Any) -> StoredPrompt:
    """A prompt from a row with the trace's id, event id, cluster, split, payload and trial."""
    trace = Trace.model_validate(row.payload)
    split = Split(row.split)
    return StoredPrompt(row.id, row.event_id, row.cluster, split, trace.messages, trace.tools, row.trial)


def prompts(connection: Connection, trace_ids: Sequence[int]) -> list[StoredPrompt]:
    """The prompts of these traces, in the order asked."""
    columns = [TRACE.c[name] for name in ("id", "event_id", "cluster", "split", "payload", "trial")]
    found = {row.id: row for row in connection.execute(select(*columns).where(TRACE.c.id.in_(trace_ids)))}
    return [prompt_of(found[trace_id]) for trace_id in trace_ids]


def waiting(connection: Connection, *, most: int) -> Waiting:
    """Counts the prompts that `unsampled` would answer, up to `most`: there may be millions."""
    stored = connection.scalars(_unsampled(TRACE.c.stored_at).limit(most)).all()
    return Waiting(len(stored), min(stored, default=None))


def unsampled(connection: Connection, *, limit: int) -> list[StoredPrompt]:
    """Prompts of `SAMPLED_SPLITS` without sampled answers whose traffic judgements are planned, oldest
    first.
    """
    ids = connection.scalars(_unsampled(TRACE.c.id).order_by(TRACE.c.id).limit(limit)).all()
    return prompts(connection, ids)


def store_sampled(
    connection: Connection,
    answers: Sequence[tuple[int, Sequence[Sampled]]],
    *,
    adapter: str,
    batch: str,
    now: float,
    refused: Mapping[int, str] | None = None,
) -> list[int]:
    """Stores the answers of traces that have none yet and marks them; returns those traces' ids.

    A trace that another worker has sampled in the meantime keeps its answers. `refused` says, by trace, why
    a prompt has none.
    """
    why = refused or {}
    fresh = [
        trace_id for trace_id, _ in answers if _mark_sampled(connection, trace_id, now, why.get(trace_id))
    ]
    marked = set(fresh)
    insert_new(
        connection,
        CANDIDATE,
        [
            row(trace_id, sampled, adapter=adapter, batch=batch, sample=sample, now=now)
            for trace_id, answered in answers
            if trace_id in marked
            for sample, sampled in enumerate(answered)
        ],
    )
    return fresh


def row(
    trace_id: int, sampled: Sampled, *, adapter: str, batch: str, sample: int, now: float
) -> dict[str, Any]:
    """A sampled answer's columns. What a database cannot hold is replaced: a model may say it."""
    clean = [storable(message.model_dump()) for message in sampled.messages]
    messages = tuple(Message.model_validate(message) for message in clean)
    return {
        "trace_id": trace_id,
        "origin": Origin.SAMPLED.value,
        "adapter": adapter,
        "batch": batch,
        "sample": sample,
        "output": clean,
        "text": text_of(messages),
        "truncated": sampled.cut,
        "tokens": None if sampled.tokens is None else sampled.tokens.model_dump(mode="json"),
        "created_at": now,
    }


def storable(value: Any) -> Any:
    """The same JSON value with NUL and lone surrogates in strings replaced by U+FFFD, and with what is not
    finite named.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    return value


def answers_of(connection: Connection, trace_ids: Sequence[int]) -> dict[int, list[Candidate]]:
    """The candidates of these traces by trace, in the order they were stored."""
    columns = ("id", "trace_id", "origin", "batch", "sample", "text")
    query = select(*(CANDIDATE.c[name] for name in columns)).where(CANDIDATE.c.trace_id.in_(trace_ids))
    found: dict[int, list[Candidate]] = {trace_id: [] for trace_id in trace_ids}
    for each in connection.execute(query.order_by(CANDIDATE.c.id)):
        found[each.trace_id].append(
            Candidate(each.id, each.trace_id, Origin(each.origin), each.batch, each.sample, each.text)
        )
    return found


def cut(connection: Connection) -> Cut:
    """Counts the answers that a limit cut off, of the newest `CUT_OF`, by origin."""
    newest = select(CANDIDATE.c.origin, CANDIDATE.c.truncated).order_by(CANDIDATE.c.id.desc()).limit(CUT_OF)
    some = newest.subquery("newest")
    columns = (some.c.origin, func.sum(cast_sql(some.c.truncated, Integer)), func.count())
    query = select(*columns).group_by(some.c.origin)
    found = {origin: (int(cut), answers) for origin, cut, answers in connection.execute(query)}
    none = (0, 0)
    return Cut(found.get(Origin.LOGGED.value, none), found.get(Origin.SAMPLED.value, none))


def scored_or_asked(connection: Connection, trace_ids: Sequence[int]) -> frozenset[int]:
    """The candidates of these traces whose score the small judge gave or was asked for."""
    query = select(JUDGEMENT.c.candidate_id).where(
        JUDGEMENT.c.trace_id.in_(trace_ids),
        JUDGEMENT.c.role == Role.SMALL.value,
        JUDGEMENT.c.kind == "score",
    )
    return frozenset(connection.scalars(query))


def _unsampled(*columns: Any) -> Select[Any]:
    return select(*columns).where(
        TRACE.c.split.in_(SAMPLED_SPLITS), TRACE.c.sampled_at.is_(None), TRACE.c.planned_at.is_not(None)
    )


def _mark_sampled(connection: Connection, trace_id: int, now: float, refused: str | None) -> bool:
    marking = update(TRACE).where(TRACE.c.id == trace_id, TRACE.c.sampled_at.is_(None))
    values = {"sampled_at": now, "trial": None, "refused": storable(refused)}
    return connection.execute(marking.values(values)).rowcount == 1
