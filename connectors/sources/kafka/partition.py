"""One assigned partition: where it stands, and what of it was gone before it was read."""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

from kafka import KafkaConsumer, TopicPartition, errors

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
    out: deque[tuple[int, int]] = field(default_factory=deque)
    """Next offset and size of each record that is queued or given out and not committed."""


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
