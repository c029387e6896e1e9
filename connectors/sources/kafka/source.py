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

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors

from connectors.base import Partition, Record, Resume
from connectors.errors import ConnectorError, FatalError, TransientError
from connectors.sources.kafka.client import (
    KafkaOptions,
    check_files,
    connect,
    free_slot,
    keep_join,
    leave_for_good,
    seek,
    settled,
)
from connectors.sources.kafka.errors import classified, last_reason
from connectors.sources.kafka.errors import unreachable as unreachable_error
from connectors.sources.kafka.health import RETRY_S, Health
from connectors.sources.kafka.partition import Assigned, lost_before

MOST_TYPE = 256
"""Bytes of a content type that are kept."""
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
        self._options = options
        self._lock = threading.Condition()
        self._queue: deque[Record] = deque()
        self._assigned: dict[TopicPartition, Assigned] = {}
        self._commits: dict[TopicPartition, int] = {}
        self._records = self._bytes = self._epochs = 0
        self._committed_at = self._heard_at = 0.0
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
            while not self._queue:
                left = began - monotonic() + self._health.patience(timeout_s)
                if self._stop.is_set():
                    return []
                if left <= 0 or self._health.hopeless:
                    self._health.explain()
                    return []
                self._lock.wait(left)
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
                consumer = self._connected()
                while not self._stop.is_set():
                    self._poll(consumer)
            except Exception as error:  # noqa: BLE001 - whatever ends this thread must reach the receiver
                self._report(classified(error, self._options))
            finally:
                if consumer is not None:
                    self._leave(consumer)
            gc.collect()  # kafka-python leaves the socket of each refused connection in a reference cycle
            self._stop.wait(self._health.pause())

    def _connected(self) -> KafkaConsumer:
        """A consumer that has reached the cluster. Raises FatalError or TransientError, one line."""
        options = self._options
        place = f"kafka {options.bootstrap_servers}"
        check_files(place, options.ssl_cafile, options.ssl_certfile, options.ssl_keyfile)
        client_id = f"rlaifd-{self.name}"
        with last_reason(client_id) as reason:
            try:
                consumer = connect(self._options, client_id)
            except kafka_errors.KafkaTimeoutError:
                consumer = None
        if consumer is None:  # raised here: above, the error's context would keep the client's frames alive
            raise unreachable_error(self._options, reason())
        try:
            for topic in self._options.topics:
                if not consumer.partitions_for_topic(topic):
                    raise TransientError(  # noqa: TRY301 - the consumer is closed below
                        f"kafka {self._options.bootstrap_servers}: topic {topic!r} does not exist or may not "
                        "be read: create it, or correct the source's `topics`"
                    )
            consumer.subscribe(topics=list(self._options.topics), listener=_Listener(self, consumer))
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
        with self._lock:
            self._health.polled(well=well and not unplaced and settled(consumer), received=bool(batch))
            self._lock.notify_all()
        self._regulate(consumer)
        self._watch(consumer)
        self._commit(consumer)

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
            raise FatalError(
                f"kafka {self._options.bootstrap_servers}: {record.topic}-{record.partition} goes back to "
                f"offset {record.offset}, but the store has read to {state.expected}: the topic was made "
                "anew; give the source another name, or name the new topic"
            )
        partition = Partition(record.topic, record.partition)
        timestamp = (
            record.timestamp / 1000 if record.timestamp is not None and record.timestamp >= 0 else None
        )
        self._queue.append(
            Record(
                partition, record.offset, record.offset + 1, record.value, timestamp,
                lost=lost, content_type=_content_type(record.headers),
            )
        )  # fmt: skip
        state.expected = record.offset + 1
        if state.stored is None:
            state.stored = record.offset
        size = len(record.value or b"")
        state.out.append((record.offset + 1, size))
        self._records += 1
        self._bytes += size

    def _replace(self, consumer: KafkaConsumer, moved: Mapping[TopicPartition, int | None]) -> None:
        for where, start in moved.items():
            try:
                seek(consumer, where, start)
            except ValueError:
                continue  # it has moved away again; its new owner reads on

    def _regulate(self, consumer: KafkaConsumer) -> None:
        """Pauses at the bound and resumes at half of it. Said at every turn: a new assignment forgets it."""
        with self._lock:
            full = self._records / self._options.max_in_flight_records
            full = max(full, self._bytes / self._options.max_in_flight_bytes)
            self._paused = full >= (0.5 if self._paused else 1.0)
            assigned = list(self._assigned)
        for where in assigned:
            try:
                (consumer.pause if self._paused else consumer.resume)(where)
            except KeyError:
                continue  # it has moved away meanwhile

    def _watch(self, consumer: KafkaConsumer) -> None:
        """Notes the ends of the partitions, as the last fetch told them, and whether a broker is there."""
        now = monotonic()
        if consumer.metrics()["consumer-metrics"]["connection-count"]:
            self._heard_at = now
        elif now - self._heard_at > SILENCE_S:
            self._heard_at = now
            gc.collect()  # as above: a long outage would use up the descriptors
            servers = self._options.bootstrap_servers
            self._report(TransientError(f"kafka {servers}: no connection to any broker for {SILENCE_S:g} s"))
        with self._lock:
            for where, state in self._assigned.items():
                try:
                    end = consumer.highwater(where)
                except (kafka_errors.IllegalStateError, KeyError):
                    continue
                state.end = end if end is not None else state.end

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
        try:
            starts = self._starts(added)
        except Exception as error:  # noqa: BLE001 - raised here it would leave the partitions unread for ever
            self._report(TransientError(f"source {self.name}: the store does not tell the position: {error}"))
            starts = None
        for where in added:
            try:
                seek(consumer, where, starts.get(where) if starts else None)
            except ValueError:
                continue  # it has moved away again
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

    def _starts(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        assert self._resume is not None
        names = {Partition(where.topic, where.partition): where for where in partitions}
        found = self._resume(list(names)) if names else {}
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


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Hands rebalances on. Runs on the client's IO thread."""

    def __init__(self, source: KafkaSource, consumer: KafkaConsumer) -> None:
        self._source, self._consumer = source, consumer

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._source.placing(self._consumer, assigned)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._source.dropping(revoked)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self._source.dropping(lost)


def _content_type(headers: Any) -> str | None:
    """What the producer says that the value is, by the header that HTTP and CloudEvents name it with."""
    for key, value in headers or ():
        if key.lower() == "content-type" and value:
            return bytes(value[:MOST_TYPE]).decode("latin-1")
    return None
