"""One assigned partition: where it stands, its records, and what of it was gone before it was read."""

from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from kafka import KafkaConsumer, TopicPartition, errors

from connectors.base import Partition, Record
from connectors.errors import FatalError
from connectors.losses import Loss
from connectors.sources.kafka.errors import Addressed

MOST_TYPE = 256
"""Bytes of a content type that are kept."""
GAP_S = 10.0
"""How often a partition's beginning is asked for where its offsets have gaps."""
ASK_MS = 2000


@dataclass(slots=True)
class Assigned:
    """One assigned partition. `epoch` is its placement: None while the listener is still placing it."""

    epoch: int | None = None
    unplaced: bool = False
    """The store did not answer: the poll thread tries again."""
    start: int | None = None
    """Where the store said to go on; None: the earliest record."""
    expected: int | None = None
    """No record before it may come any more."""
    stored: int | None = None
    end: int | None = None
    beginning: int = 0
    """The log's first offset, as it was last told: compaction leaves gaps beyond it, retention moves it."""
    asked_at: float = float("-inf")
    lost: Loss | None = None
    """What is gone before its turn came: it waits until the store is beyond."""
    out: deque[tuple[int, int]] = field(default_factory=deque)
    """Next offset and size of each record that is queued or given out and not committed."""


def note_ends(consumer: KafkaConsumer, assigned: Mapping[TopicPartition, Assigned]) -> None:
    """Notes where the partitions end, as the last fetch told it."""
    for where, state in assigned.items():
        with suppress(errors.IllegalStateError, KeyError):
            end = consumer.highwater(where)
            state.end = end if end is not None else state.end


def lost_before(consumer: KafkaConsumer, where: TopicPartition, state: Assigned, offset: int) -> int:
    """How many records before the one at `offset` the log no longer had when their turn came.

    A gap alone says nothing, since compaction and transactions leave gaps too: what lies before the log's
    beginning is gone. Asks the broker, so only the poll thread may call it.
    """
    if state.expected is None or offset <= state.expected:
        return 0
    if monotonic() - state.asked_at >= GAP_S:
        state.asked_at = monotonic()
        with suppress(errors.KafkaError):
            state.beginning = consumer.beginning_offsets([where], timeout_ms=ASK_MS)[where]
    return max(0, min(offset, state.beginning) - state.expected)


def losses_of(
    consumer: KafkaConsumer, offsets: Mapping[TopicPartition, int], options: Addressed
) -> dict[TopicPartition, Loss]:
    """What is gone of the partitions that are to be read on at those offsets. Asks the broker.

    Raises FatalError for one that ends before its offset: the log is another one, or was cut.
    """
    if not offsets:
        return {}
    begins = consumer.beginning_offsets(list(offsets), timeout_ms=ASK_MS)
    ends = consumer.end_offsets(list(offsets), timeout_ms=ASK_MS)
    for where, offset in offsets.items():
        if offset > ends[where]:
            raise made_anew(options, where, f"ends at offset {ends[where]}", offset)
    return {
        where: Loss(Partition(where.topic, where.partition), offset, begins[where])
        for where, offset in offsets.items()
        if offset < begins[where]
    }


def made_anew(options: Addressed, where: TopicPartition, found: str, read_to: int) -> FatalError:
    """What is said of a log that cannot be the one that was read before."""
    return FatalError(
        f"kafka {options.bootstrap_servers}: {where.topic}-{where.partition} {found}, but the store has read "
        f"to {read_to}: the topic was made anew, or its end was lost; give the source another name, or name "
        "the new topic"
    )


def record_of(record: Any, lost: int) -> Record:
    """The client's record as the daemon's; `lost` offsets before it are gone."""
    told = record.timestamp is not None and record.timestamp >= 0
    return Record(
        Partition(record.topic, record.partition), record.offset, record.offset + 1, record.value,
        record.timestamp / 1000 if told else None, lost=lost, content_type=_content_type(record.headers),
    )  # fmt: skip


def _content_type(headers: Any) -> str | None:
    """What the producer says that the value is, by the header that HTTP and CloudEvents name it with."""
    for key, value in headers or ():
        if key.lower() == "content-type" and value:
            return bytes(value[:MOST_TYPE]).decode("latin-1")
    return None
