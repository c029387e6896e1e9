"""Ingested records into rows: traces, logged candidates, feedback, spans, dead letters and positions, in one
transaction.

What makes it repeatable: a record below its partition's stored position was counted before and is passed
over; the same event with the same content is a duplicate, with other content the next revision. Positions
only rise. Counts are computed from what this transaction inserts, so that they add up after any kill.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, cast

from sqlalchemy import Connection, Table, and_, inspect, select, tuple_, update

from connectors.base import Partition
from connectors.errors import DecodeError, UnknownFormatError
from connectors.events import Found, Skipped
from daemon.store import adapters, agentversions, feedback, spans
from daemon.store.inserts import insert_new, insert_written, reserved
from daemon.store.tables import CandidateRow, DeadLetterRow, PositionRow, TraceRow
from policies.agentversion import Rule
from policies.clusters import split_of
from policies.feedback import FeedbackEvent
from policies.policy import Splits
from policies.records import Origin, Trace, text_of
from policies.served import spellings
from policies.spans import Span

ROWS = 500
"""Most rows of one statement: under SQLite's limit of bound variables with every table here."""

INCOMPLETE = "what led to the answer is not all in the log"
"""Why the prompt of such a trace is given to no policy."""

TRACE = cast(Table, inspect(TraceRow).local_table)
CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
DEAD_LETTER = cast(Table, inspect(DeadLetterRow).local_table)
POSITION = cast(Table, inspect(PositionRow).local_table)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One record with what came out of it, in order."""

    partition: Partition
    offset: int
    next_offset: int
    body: bytes
    outcomes: tuple[Found, ...]

    @property
    def unknown(self) -> bool:
        """Whether no decoder knows anything of it."""
        return all(isinstance(outcome, UnknownFormatError) for outcome in self.outcomes)


@dataclass(slots=True)
class Counts:
    """What became of a batch. `records` are records; the others are events and add up to all of them."""

    records: int = 0
    stored: int = 0
    duplicates: int = 0
    revisions: int = 0
    dead_letters: int = 0
    skipped: int = 0
    feedback: int = 0
    spans: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def events(self) -> int:
        """All events."""
        told = self.stored + self.duplicates + self.revisions + self.dead_letters + self.skipped
        return told + self.feedback + self.spans


@dataclass(slots=True)
class _Batch:
    """Rows on their way in, with the counts of each partition."""

    traces: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[Trace] = field(default_factory=list)
    dead: list[dict[str, Any]] = field(default_factory=list)
    feedback: dict[Partition, list[FeedbackEvent]] = field(default_factory=dict)
    spans: dict[Partition, list[Span]] = field(default_factory=dict)
    ends: dict[Partition, int] = field(default_factory=dict)
    counts: dict[Partition, Counts] = field(default_factory=dict)
    keep: float = 1.0
    """With which probability its traces were kept."""


def positions(connection: Connection, source: str, partitions: Iterable[Partition]) -> dict[Partition, int]:
    """The next offset of those partitions that the store knows."""
    return _positions(connection, source, list(partitions), lock=False)


def sources(connection: Connection) -> set[str]:
    """The names of all sources that were ever read."""
    return set(connection.scalars(select(POSITION.c.source).distinct()))


def store_batch(
    connection: Connection,
    *,
    source: str,
    arrivals: Sequence[Arrival],
    splits: Splits,
    now: float,
    versions: Rule = "auto",
    keep: float = 1.0,
) -> Counts:
    """Writes a batch and returns what became of it. `now` is seconds since the epoch; `versions` is by what
    the agent's versions are told apart, `keep` the probability with which the traces were kept.

    Two writers of one event on PostgreSQL collide on its natural key: the whole work is then done again
    (`Store.write`), and the later one finds a duplicate.
    """
    fresh = _fresh(connection, source, arrivals, now)
    batch = _sort(connection, source, fresh, now, keep)
    _place(connection, batch, splits)
    _attribute(connection, batch)
    _tell(connection, source, batch, versions, now)
    _insert_traces(connection, batch, now)
    insert_new(connection, DEAD_LETTER, batch.dead)
    _put_others(connection, source, batch, now)
    _advance(connection, source, batch, now)
    return sum(batch.counts.values(), Counts())


def store_traces(
    connection: Connection,
    *,
    source: str,
    traces: Sequence[Trace],
    splits: Splits,
    now: float,
    versions: Rule = "auto",
    keep: float = 1.0,
) -> Counts:
    """Writes traces of one source that are of no record by themselves: those joined from parts."""
    batch, counts = _Batch(keep=keep), Counts()
    known = _known(connection, source, {trace.id for trace in traces})
    for trace in traces:
        _add(batch, counts, trace, known.setdefault(trace.id, set()), source=source, now=now)
    _place(connection, batch, splits)
    _attribute(connection, batch)
    _tell(connection, source, batch, versions, now)
    _insert_traces(connection, batch, now)
    return counts


def _fresh(connection: Connection, source: str, arrivals: Sequence[Arrival], now: float) -> list[Arrival]:
    """The arrivals that no transaction counted yet, each once. Locks the positions, in one order for all."""
    partitions = sorted({each.partition for each in arrivals}, key=lambda each: (each.topic, each.partition))
    if not partitions:
        return []
    blank = [
        {"source": source, "topic": each.topic, "partition": each.partition, "next_offset": 0,
         "updated_at": now, **{name.name: 0 for name in fields(Counts)}}
        for each in partitions
    ]  # fmt: skip
    insert_new(connection, POSITION, blank)
    reached = _positions(connection, source, partitions, lock=True)
    fresh: list[Arrival] = []
    for arrival in arrivals:
        if arrival.offset >= reached[arrival.partition]:
            reached[arrival.partition] = arrival.next_offset
            fresh.append(arrival)
    return fresh


def _sort(
    connection: Connection, source: str, arrivals: Sequence[Arrival], now: float, keep: float
) -> _Batch:
    """Tells new events from duplicates and revisions, against the store and within the batch."""
    batch = _Batch(keep=keep)
    events = (outcome for each in arrivals for outcome in each.outcomes)
    known = _known(connection, source, {event.id for event in events if isinstance(event, Trace)})
    for arrival in arrivals:
        counts = batch.counts.setdefault(arrival.partition, Counts())
        counts.records += 1
        batch.ends[arrival.partition] = arrival.next_offset
        for index, outcome in enumerate(arrival.outcomes):
            if isinstance(outcome, Skipped):
                counts.skipped += 1
                continue
            if isinstance(outcome, DecodeError):
                counts.dead_letters += 1
                batch.dead.append(_dead_row(source, arrival, index, outcome, now))
                continue
            if isinstance(outcome, FeedbackEvent):
                batch.feedback.setdefault(arrival.partition, []).append(outcome)
                continue
            if isinstance(outcome, Span):
                batch.spans.setdefault(arrival.partition, []).append(outcome)
                continue
            _add(batch, counts, outcome, known.setdefault(outcome.id, set()), source=source, now=now)
    return batch


def _add(batch: _Batch, counts: Counts, trace: Trace, digests: set[str], *, source: str, now: float) -> None:
    """Puts a trace into the batch unless it is known. `digests` are those of its event's revisions."""
    digest = trace.digest
    if digest in digests:
        counts.duplicates += 1
        return
    counts.revisions += bool(digests)
    counts.stored += not digests
    batch.traces.append(_trace_row(trace, source, digest, len(digests), now) | {"kept_with": batch.keep})
    batch.outputs.append(trace)
    digests.add(digest)


def _put_others(connection: Connection, source: str, batch: _Batch, now: float) -> None:
    """Stores feedback and spans, with their counts."""
    for partition, said in batch.feedback.items():
        new = feedback.put(connection, source, said, now)
        batch.counts[partition].feedback += new
        batch.counts[partition].duplicates += len(said) - new
    for partition, parts in batch.spans.items():
        new = spans.put(connection, source, parts, now)
        batch.counts[partition].spans += new
        batch.counts[partition].duplicates += len(parts) - new


def _known(connection: Connection, source: str, ids: Iterable[str]) -> dict[str, set[str]]:
    """The digests stored of each event; as many as it has revisions."""
    known: dict[str, set[str]] = {}
    for chunk in _chunks(sorted(ids)):
        query = select(TRACE.c.event_id, TRACE.c.digest).where(
            TRACE.c.source == source, TRACE.c.event_id.in_(chunk)
        )
        for event_id, digest in connection.execute(query):
            known.setdefault(event_id, set()).add(digest)
    return known


def _trace_row(trace: Trace, source: str, digest: str, revision: int, now: float) -> dict[str, Any]:
    return {
        "source": source,
        "event_id": trace.id,
        "revision": revision,
        "digest": digest,
        "cluster": trace.cluster,
        "ts": trace.ts,
        "stored_at": now,
        "model": trace.model,
        "adapter": trace.adapter,
        "session": trace.session,
        "subject": trace.subject,
        "payload": trace.encoded.payload.decode(),
        "planned_at": None,
        **_in_training(trace, now),
    }


def _in_training(trace: Trace, now: float) -> dict[str, Any]:
    """Where what led to the answer is not all there, nothing is sampled, curated or compared by it."""
    done = now if trace.incomplete else None
    why = INCOMPLETE if trace.incomplete else None
    return {"incomplete": trace.incomplete, "sampled_at": done, "curated_at": done, "refused": why}


def _dead_row(source: str, arrival: Arrival, index: int, error: DecodeError, now: float) -> dict[str, Any]:
    return {
        "source": source,
        "topic": arrival.partition.topic,
        "partition": arrival.partition.partition,
        "offset": arrival.offset,
        "index": index,
        "body": arrival.body if error.body is None else error.body,
        "reason": str(error),
        "stored_at": now,
    }


def _place(connection: Connection, batch: _Batch, splits: Splits) -> None:
    """Gives each row its cluster's split: the one the cluster has, whatever the shares are by now."""
    settled: dict[str, str] = {}
    for chunk in _chunks(sorted({row["cluster"] for row in batch.traces})):
        query = select(TRACE.c.cluster, TRACE.c.split).where(TRACE.c.cluster.in_(chunk)).distinct()
        settled.update((cluster, split) for cluster, split in connection.execute(query))
    for row in batch.traces:
        row["split"] = settled.setdefault(row["cluster"], split_of(row["cluster"], splits).value)


def _attribute(connection: Connection, batch: _Batch) -> None:
    """Gives each row whose log names no adapter the one that its response's model is the name of."""
    rows = [row for row in batch.traces if row["adapter"] is None and row["model"] is not None]
    served = adapters.named(connection, {name for row in rows for name in spellings(row["model"])})
    for row in rows if served else ():
        row["adapter"] = next((name for name in spellings(row["model"]) if name in served), None)


def _tell(connection: Connection, source: str, batch: _Batch, rule: Rule, now: float) -> None:
    """Gives each row the version of the agent that answered."""
    if not batch.traces:
        return
    telling = agentversions.telling(connection, source, rule)
    for row, trace in zip(batch.traces, batch.outputs, strict=True):
        row["agent_version"] = telling.tell(trace)
    agentversions.keep(connection, source, telling, now=now)


def _insert_traces(connection: Connection, batch: _Batch, now: float) -> None:
    """Inserts the traces, and of each the logged answer as a candidate."""
    ids = reserved(connection, TRACE, len(batch.traces))
    candidates = [
        {
            "trace_id": trace_id,
            "origin": Origin.LOGGED.value,
            "adapter": row["adapter"] or "",
            "batch": "",
            "sample": 0,
            "output": trace.encoded.output.decode(),
            "text": text_of(trace.output),
            "truncated": trace.truncated,
            "unshown": trace.unshown,
            "created_at": now,
        }
        for trace_id, row, trace in zip(ids, batch.traces, batch.outputs, strict=True)
    ]
    rows = [{"id": trace_id, **row} for trace_id, row in zip(ids, batch.traces, strict=True)]
    insert_written(connection, TRACE, rows)
    insert_written(connection, CANDIDATE, candidates)


def _advance(connection: Connection, source: str, batch: _Batch, now: float) -> None:
    for partition, counts in batch.counts.items():
        connection.execute(
            update(POSITION)
            .where(
                POSITION.c.source == source,
                POSITION.c.topic == partition.topic,
                POSITION.c.partition == partition.partition,
                POSITION.c.next_offset <= batch.ends[partition],
            )
            .values(
                next_offset=batch.ends[partition],
                updated_at=now,
                **{each.name: POSITION.c[each.name] + getattr(counts, each.name) for each in fields(counts)},
            )
        )


def _positions(
    connection: Connection, source: str, partitions: Sequence[Partition], *, lock: bool
) -> dict[Partition, int]:
    found: dict[Partition, int] = {}
    for chunk in _chunks(partitions):
        query = (
            select(POSITION.c.topic, POSITION.c.partition, POSITION.c.next_offset)
            .where(
                and_(
                    POSITION.c.source == source,
                    tuple_(POSITION.c.topic, POSITION.c.partition).in_(
                        [(each.topic, each.partition) for each in chunk]
                    ),
                )
            )
            .order_by(POSITION.c.topic, POSITION.c.partition)
        )
        for topic, partition, offset in connection.execute(query.with_for_update() if lock else query):
            found[Partition(topic, partition)] = offset
    return found


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), ROWS):
        yield items[start : start + ROWS]
