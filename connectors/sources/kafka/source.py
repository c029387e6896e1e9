"""Kafka topics, consumed as a group through kafka-python.

One thread owns the consumer and does nothing but poll, half a second at a time. Everything else talks to it
through a lock and a queue.

Reading goes where the store says. The rebalance listener runs on the client's IO thread, where no blocking
call is allowed and heartbeats wait: it seeks, which is only bookkeeping. Because a poll may be under way at
that moment, the poll thread seeks again afterwards and discards what that poll returned of the partition.
"""

import gc
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors

from connectors.base import Partition, Reading, Record, Resume
from connectors.errors import ConnectorError, FatalError, TransientError
from connectors.losses import OffsetsLostError
from connectors.sources.kafka.client import (
    KafkaOptions,
    check_files,
    connect,
    free_slot,
    hold,
    keep_join,
    leave_for_good,
    partitions_of,
    seek,
    settled,
)
from connectors.sources.kafka.errors import LastReason, classified, last_reason, silence
from connectors.sources.kafka.errors import unreachable as unreachable_error
from connectors.sources.kafka.health import RETRY_S, Health
from connectors.sources.kafka.listener import RebalanceListener
from connectors.sources.kafka.partition import (
    Assigned,
    losses_of,
    lost_before,
    made_anew,
    note_ends,
    record_of,
)

POLL_MS = 500
COMMIT_S = 1.0
SILENCE_S = 5.0
"""Without a connection for so long, an outage is told: the client's poll keeps quiet about it."""
CLOSE_MS = 2000
CLOSE_S = 4.5
"""A thread that is still waiting for a broker holds nothing: it is left behind and ends by itself."""


class KafkaSource:
    """A consumer group's share of some topics."""

    def __init__(self, *, name: str, options: KafkaOptions) -> None:
        self.name = name
        self._client_id = f"rlaifd-{name}"
        self._options = options
        self._lock = threading.Condition()
        self._queue: deque[Record] = deque()
        self._assigned: dict[TopicPartition, Assigned] = {}
        self._commits: dict[TopicPartition, int] = {}
        self._records = self._bytes = self._epochs = 0
        self._committed_at = self._heard_at = self._lost_at = 0.0
        self._paused = False
        self._health = Health(f"kafka {options.bootstrap_servers}", options.group_id)
        self._resume: Resume | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"kafka-{name}", daemon=True)

    def start(self, resume: Resume) -> None:
        self._resume = resume
        self._thread.start()

    def receive(self, timeout_s: float, limit: int = 500) -> list[Record]:
        began = monotonic()
        with self._lock:
            self._refuse_to_pass_over()
            while not self._queue:
                left = began - monotonic() + self._health.patience(timeout_s)
                if self._stop.is_set():
                    return []
                if left <= 0 or self._health.hopeless:
                    self._health.explain()
                    return []
                self._lock.wait(left)
                self._refuse_to_pass_over()
            return [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]

    def commit(self, positions: Mapping[Partition, int]) -> None:
        with self._lock:
            for partition, offset in positions.items():
                where = TopicPartition(partition.topic, partition.partition)
                state = self._assigned.get(where)
                if state is None:
                    continue
                state.stored = max(offset, state.stored or 0)
                self._commits[where] = state.stored
                while state.out and state.out[0][0] <= offset:
                    self._bytes -= state.out.popleft()[1]
                    self._records -= 1

    def lag(self) -> Mapping[Partition, int]:
        with self._lock:
            return {
                Partition(where.topic, where.partition): max(0, state.end - state.stored)
                for where, state in self._assigned.items()
                if state.end is not None and state.stored is not None
            }

    def reading(self) -> Reading:
        with self._lock:
            return Reading(len(self._assigned), self._health.well_at)

    def _refuse_to_pass_over(self) -> None:
        lost = [state.lost for state in self._assigned.values() if state.lost is not None]
        if lost:
            raise OffsetsLostError(f"kafka {self._options.bootstrap_servers}", lost)

    def close(self) -> None:
        self._stop.set()
        with self._lock:
            self._lock.notify_all()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)

    # The poll thread.

    def _run(self) -> None:
        while not self._stop.is_set():
            consumer = None
            try:
                with last_reason(self._client_id) as reason:
                    consumer = self._connected(reason)
                    while not self._stop.is_set():
                        self._poll(consumer)
                        self._watch(consumer, reason)
            except Exception as error:  # noqa: BLE001 - whatever ends this thread must reach the receiver
                self._report(classified(error, self._options))
            finally:
                if consumer is not None:
                    self._leave(consumer)
            gc.collect()  # kafka-python leaves the socket of each refused connection in a reference cycle
            self._stop.wait(self._health.pause())

    def _connected(self, reason: LastReason) -> KafkaConsumer:
        """A consumer that has reached the cluster. Raises FatalError or TransientError, one line."""
        options = self._options
        check_files(f"kafka {options.bootstrap_servers}", *options.files)
        try:
            consumer = connect(options, self._client_id)
        except kafka_errors.KafkaTimeoutError:
            consumer = None
        if consumer is None:  # raised here: above, the error's context would keep the client's frames alive
            raise unreachable_error(options, reason())
        try:
            partitions_of(consumer, options)
            consumer.subscribe(topics=list(options.topics), listener=RebalanceListener(self, consumer))
        except BaseException:
            consumer.close(autocommit=False, timeout_ms=CLOSE_MS)
            raise
        self._committed_at = self._heard_at = monotonic()
        return consumer

    def _poll(self, consumer: KafkaConsumer) -> None:
        with self._lock:
            before = {where: state.epoch for where, state in self._assigned.items()}
        free_slot(consumer)
        keep_join(consumer)
        well = True
        try:
            batch = consumer.poll(timeout_ms=POLL_MS, max_records=500)
        except kafka_errors.NoOffsetForPartitionError:
            batch = {}  # a poll that ran into a placement; the seek below gives the position
            before = {}
        except kafka_errors.OffsetOutOfRangeError as error:
            batch, well = {}, False
            self._lose(consumer, error.args[0])
        except kafka_errors.KafkaError as error:
            problem = classified(error, self._options)
            if isinstance(problem, FatalError):
                raise problem from error
            self._report(problem)
            self._stop.wait(RETRY_S)
            batch, well = {}, False
        self._replace(consumer, self._take(batch, before, self._gaps(consumer, batch)))
        with self._lock:
            unplaced = [where for where, state in self._assigned.items() if state.unplaced]
        if unplaced:
            self._stop.wait(RETRY_S)
            self.placing(consumer, unplaced)
        self._find_again(consumer)
        with self._lock:
            self._health.polled(well=well and not unplaced and settled(consumer), received=bool(batch))
            self._lock.notify_all()
        self._regulate(consumer)
        self._commit(consumer)

    def _lose(self, consumer: KafkaConsumer, offsets: Mapping[TopicPartition, int]) -> None:
        """Notes what is gone of those that were to be read on there. They wait; the others are read on.

        Raises FatalError where the log ends before: it is another one.
        """
        with self._lock:
            states = {where: state for where in offsets if (state := self._assigned.get(where)) is not None}
        try:
            found = losses_of(consumer, {where: offsets[where] for where in states}, self._options)
        except kafka_errors.KafkaError as error:
            self._report(classified(error, self._options))
            return
        new = [where for where, state in states.items() if state.expected is None]
        with self._lock:
            for where, state in states.items():
                state.lost = None if where in new else found.get(where)
            self._lock.notify_all()
        self.placing(consumer, new)  # nothing of them was read yet, so that nothing is missing

    def _find_again(self, consumer: KafkaConsumer) -> None:
        """Goes on with what had lost offsets once the store is beyond; else looks what is gone by now."""
        with self._lock:
            lost = {where: state.lost for where, state in self._assigned.items() if state.lost is not None}
        if not lost or monotonic() - self._lost_at < RETRY_S:
            return
        self._lost_at = monotonic()
        starts = self._starts(list(lost))
        if starts is None:
            return
        passed = [where for where, loss in lost.items() if starts.get(where, loss.begins) >= loss.begins]
        self.placing(consumer, passed)
        self._lose(consumer, {where: loss.stood for where, loss in lost.items() if where not in passed})

    def _gaps(
        self, consumer: KafkaConsumer, batch: Mapping[TopicPartition, Sequence[Any]]
    ) -> dict[TopicPartition, int]:
        """How many records before those of the batch were gone before they were read."""
        with self._lock:
            states = [(where, self._assigned.get(where)) for where in batch]
        return {
            where: lost_before(consumer, where, state, batch[where][0].offset)
            for where, state in states
            if state is not None
        }

    def _take(
        self,
        batch: Mapping[TopicPartition, Sequence[Any]],
        before: Mapping[TopicPartition, int | None],
        lost: Mapping[TopicPartition, int],
    ) -> dict[TopicPartition, int | None]:
        """Queues what came; returns the partitions that were placed meanwhile, with where they start."""
        with self._lock:
            moved = {
                where: state.start
                for where, state in self._assigned.items()
                if state.epoch is not None and before.get(where) != state.epoch
            }
            for where, records in batch.items():
                state = self._assigned.get(where)
                if state is None or state.epoch is None or where in moved:
                    continue
                for at, record in enumerate(records):
                    self._append(state, record, 0 if at else lost.get(where, 0))
            self._lock.notify_all()
        return moved

    def _append(self, state: Assigned, record: Any, lost: int) -> None:
        if state.expected is not None and record.offset < state.expected:
            where = TopicPartition(record.topic, record.partition)
            raise made_anew(self._options, where, f"goes back to offset {record.offset}", state.expected)
        self._queue.append(record_of(record, lost))
        state.expected = record.offset + 1
        if state.stored is None:
            state.stored = record.offset
        size = len(record.value or b"")
        state.out.append((record.offset + 1, size))
        self._records += 1
        self._bytes += size

    def _replace(self, consumer: KafkaConsumer, moved: Mapping[TopicPartition, int | None]) -> None:
        for where, start in moved.items():
            seek(consumer, where, start)

    def _regulate(self, consumer: KafkaConsumer) -> None:
        """Pauses at the bound and resumes at half of it. Said at every turn: a new assignment forgets it."""
        with self._lock:
            full = self._records / self._options.max_in_flight_records
            full = max(full, self._bytes / self._options.max_in_flight_bytes)
            self._paused = full >= (0.5 if self._paused else 1.0)
            waits = {where: self._paused or state.lost is not None for where, state in self._assigned.items()}
        hold(consumer, waits)

    def _watch(self, consumer: KafkaConsumer, reason: LastReason) -> None:
        """Notes the ends of the partitions, as the last fetch told them, and whether a broker is there.

        Raises FatalError where no broker lets this client in any more: only another client is let in again.
        """
        now = monotonic()
        if consumer.metrics()["consumer-metrics"]["connection-count"]:
            self._heard_at = now
            reason.forget()
        elif now - self._heard_at > SILENCE_S:
            self._heard_at = now
            gc.collect()  # as above: a long outage would use up the descriptors
            self._report(silence(self._options, reason(), SILENCE_S))
        with self._lock:
            note_ends(consumer, self._assigned)

    def _commit(self, consumer: KafkaConsumer) -> None:
        """Tells Kafka the stored positions, for lag tools; what is lost is said again by the next commit."""
        if monotonic() - self._committed_at < COMMIT_S:
            return
        offsets = self._to_commit()
        if offsets:
            self._committed_at = monotonic()
            consumer.commit_async(offsets)

    def _to_commit(self) -> dict[TopicPartition, OffsetAndMetadata]:
        with self._lock:
            commits, self._commits = self._commits, {}
            return {
                where: OffsetAndMetadata(offset, "", -1)
                for where, offset in commits.items()
                if where in self._assigned
            }

    def _leave(self, consumer: KafkaConsumer) -> None:
        offsets = self._to_commit()
        if offsets and self._stop.is_set() and self._health.trouble is None:
            # For lag tools only, which then see an older position: those that count are in the store.
            with suppress(kafka_errors.KafkaError):
                consumer.commit(offsets, timeout_ms=CLOSE_MS)
        if self._stop.is_set():
            leave_for_good(consumer)
        consumer.close(autocommit=False, timeout_ms=CLOSE_MS)
        with self._lock:
            self._drop(list(self._assigned))

    def _report(self, problem: ConnectorError) -> None:
        with self._lock:
            self._health.failed(problem)
            self._lock.notify_all()

    # The client's IO thread, through the listener.

    def placing(self, consumer: KafkaConsumer, partitions: Iterable[TopicPartition]) -> None:
        """Puts newly assigned partitions where the store says. Blocks for one read of the store."""
        added = list(partitions)
        with self._lock:
            self._drop(added)
            self._assigned.update((where, Assigned()) for where in added)
        starts = self._starts(added)
        for where in added:
            seek(consumer, where, starts.get(where) if starts else None)
        with self._lock:
            for where in added:
                state = self._assigned.get(where)
                if state is None:
                    continue
                if starts is None:
                    state.unplaced = True
                    continue
                self._epochs += 1
                state.epoch = self._epochs
                state.start = state.expected = state.stored = starts.get(where)

    def _starts(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """Where the store stands; None, and told, where it does not answer."""
        assert self._resume is not None
        names = {Partition(where.topic, where.partition): where for where in partitions}
        try:
            found = self._resume(list(names)) if names else {}
        except Exception as error:  # noqa: BLE001 - raised here it would leave the partitions unread for ever
            self._report(TransientError(f"source {self.name}: the store does not tell the position: {error}"))
            return None
        return {names[partition]: offset for partition, offset in found.items()}

    def dropping(self, partitions: Iterable[TopicPartition]) -> None:
        """Forgets partitions that move away, with what is queued of them."""
        with self._lock:
            self._drop(list(partitions))

    def _drop(self, partitions: Sequence[TopicPartition]) -> None:
        gone = {Partition(where.topic, where.partition) for where in partitions}
        self._queue = deque(record for record in self._queue if record.partition not in gone)
        for where in partitions:
            state = self._assigned.pop(where, None)
            self._commits.pop(where, None)
            if state is not None:
                self._records -= len(state.out)
                self._bytes -= sum(size for _, size in state.out)
