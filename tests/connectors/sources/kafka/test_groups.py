"""Members of one Kafka group against a real broker: they share, take over, and no join is forgotten."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from kafka import KafkaConsumer, TopicPartition

from connectors.base import Partition
from connectors.sources.kafka.client import KafkaOptions, connect, keep_join
from connectors.sources.kafka.source import KafkaSource
from tests.connectors.sources.reading import DEADLINE_S, Open, patient, values
from tests.servers.kafka import Broker

pytestmark = [pytest.mark.alone, pytest.mark.kafka]


class SharedStore:
    """Stores records as the daemon does: positions with the records, those below passed over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.positions: dict[Partition, int] = {}
        self.offsets: dict[Partition, list[int]] = {}

    def __call__(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        with self._lock:
            return {each: self.positions[each] for each in partitions if each in self.positions}

    def count(self) -> int:
        return sum(len(each) for each in self.offsets.values())

    def gaps(self) -> list[Partition]:
        return [where for where, offsets in self.offsets.items() if offsets != list(range(len(offsets)))]

    def take(self, sources: KafkaSource | list[KafkaSource], until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        many = sources if isinstance(sources, list) else [sources]
        while not until():
            assert time.monotonic() < deadline, f"{self.count()} records in {DEADLINE_S} s"
            for source in many:
                records = source.receive(0.05)
                with self._lock:
                    for record in records:
                        if record.offset >= self.positions.get(record.partition, 0):
                            self.offsets.setdefault(record.partition, []).append(record.offset)
                            self.positions[record.partition] = record.next_offset
                source.commit({record.partition: record.next_offset for record in records})


def test_two_consumers_share_and_take_over(kafka_broker: Broker, open_source: Open) -> None:
    """Two members share the partitions; when one leaves, the other goes on at the store's positions."""
    topic = kafka_broker.create_topic(partitions=4)
    kafka_broker.produce(topic, values(4000))
    store = SharedStore()
    group = f"g-{uuid.uuid4().hex[:12]}"
    one = open_source(kafka_broker, topic, store, group_id=group)
    store.take(one, lambda: store.count() >= 500)
    two = open_source(kafka_broker, topic, store, group_id=group)
    every = {TopicPartition(topic, number) for number in range(4)}

    def shared() -> bool:
        first, second = {*one._assigned}, {*two._assigned}
        return bool(first) and bool(second) and first | second == every and not first & second

    store.take([one, two], lambda: shared() and store.count() >= 4000)
    one.close()
    kafka_broker.produce(topic, values(1000))
    store.take([two], lambda: store.count() >= 5000)
    assert store.count() == 5000
    assert store.gaps() == []


def test_back_pressure_survives_a_rebalance(kafka_broker: Broker, open_source: Open) -> None:
    """Partitions that come while the source is at its bound are paused too, and nothing is lost."""
    topic = kafka_broker.create_topic(partitions=2)
    for partition in range(2):
        kafka_broker.produce(topic, values(3000), partition=partition)
    group = f"g-{uuid.uuid4().hex[:12]}"
    # A short session: should the first one's leave be lost in its close, the other waits for no more.
    bound = {"max_in_flight_records": 200, "session_timeout_s": 10.0}
    two = open_source(kafka_broker, topic, group_id=group, **bound)
    one = open_source(kafka_broker, topic, group_id=group, **bound)
    deadline = time.monotonic() + DEADLINE_S
    while not (len(one._assigned) == len(two._assigned) == 1 and one._paused and two._paused):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    two.close()
    deadline = time.monotonic() + DEADLINE_S
    while len(one._assigned) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    held = one._records
    for _ in range(4):
        time.sleep(0.5)
        assert one._paused
        assert one._records <= max(held, 200) + 500
    records = patient(one, lambda found: len({(each.partition, each.offset) for each in found}) == 6000)
    assert len(records) == 6000


@pytest.fixture
def member(kafka_broker: Broker) -> Iterator[KafkaConsumer]:
    """A member of a group of its own, subscribed and not yet joined."""
    topic = kafka_broker.create_topic(partitions=2)
    options = KafkaOptions(
        bootstrap_servers=kafka_broker.bootstrap, topics=(topic,), group_id=f"g-{uuid.uuid4().hex[:12]}",
        auto_offset_reset="earliest",
    )  # fmt: skip
    consumer = connect(options, "rlaifd-member")
    consumer.subscribe([topic])
    yield consumer
    consumer.close(autocommit=False)


def poll_briefly(member: KafkaConsumer, until: Callable[[], bool]) -> None:
    """Polls of a millisecond with pauses between them, in which a join may end."""
    deadline = time.monotonic() + DEADLINE_S
    while not until():
        assert time.monotonic() < deadline
        keep_join(member)
        member.poll(timeout_ms=1)
        time.sleep(0.05)


def test_a_join_that_ends_between_two_polls(member: KafkaConsumer) -> None:
    """It is taken up by the next poll."""
    poll_briefly(member, lambda: len(member.assignment()) == 2)


def test_a_join_for_changed_topics_is_not_forgotten(member: KafkaConsumer) -> None:
    """A leader that joins again because partitions were added, in short polls, becomes stable again."""
    poll_briefly(member, lambda: len(member.assignment()) == 2)
    coordinator = member._coordinator
    generation = coordinator._generation.generation_id
    coordinator._assignment_snapshot = {}  # what it is when the topic's metadata comes after the assignment
    poll_briefly(member, lambda: coordinator._generation.generation_id > generation and coordinator.stable())


def test_a_member_with_a_name_leaves_when_it_ends(kafka_broker: Broker, open_source: Open) -> None:
    """After a kill its share waits for it; after an orderly end the others have it at once."""
    topic = kafka_broker.create_topic(partitions=4)
    group, store = f"g-{uuid.uuid4().hex[:12]}", SharedStore()
    one, two = (
        open_source(
            kafka_broker, topic, store, group_id=group, session_timeout_s=600.0, group_instance_id=name
        )
        for name in ("one", "two")
    )
    store.take([one, two], lambda: len(one._assigned) == len(two._assigned) == 2)
    one.close()
    store.take([two], lambda: len(two._assigned) == 4)
