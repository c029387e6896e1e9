"""The Kafka source against a real broker: outages, positions, and what the user is told."""

import socket
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from kafka import TopicPartition

from connectors.base import Partition
from connectors.errors import FatalError, TransientError
from connectors.losses import Loss, OffsetsLostError
from connectors.sources.kafka.probe import partitions
from connectors.sources.kafka.source import KafkaSource
from tests.connectors.sources.reading import DEADLINE_S, Open, patient, trouble, values
from tests.contracts.sources import Positions
from tests.servers.kafka import Broker, PrivateBroker, free_ports

pytestmark = [
    pytest.mark.alone,
    pytest.mark.filterwarnings(
        "ignore:unclosed <:ResourceWarning"
    ),  # refused sockets are left to the collector
]


@pytest.mark.kafka
def test_tombstones_and_times(kafka_broker: Broker, open_source: Open) -> None:
    """A record without a value arrives as None, with the broker's time in seconds."""
    topic = kafka_broker.create_topic()
    kafka_broker.produce(topic, [b"x", None])
    one, two = patient(open_source(kafka_broker, topic), lambda found: len(found) == 2)
    assert (one.value, two.value) == (b"x", None)
    assert one.timestamp == pytest.approx(time.time(), abs=120)


@pytest.mark.kafka
def test_a_broker_that_is_killed_and_comes_back(own_kafka: PrivateBroker, open_source: Open) -> None:
    """The source carries on by itself; every record comes, each once to a caller that keeps positions."""
    topic = own_kafka.create_topic(partitions=3)
    own_kafka.produce(topic, values(300))
    source = open_source(own_kafka, topic)
    first = patient(source, lambda found: len(found) >= 300)
    own_kafka.kill()
    assert "no connection to any broker" in trouble(source, TransientError)
    own_kafka.start()
    own_kafka.produce(topic, values(200))
    rest = patient(source, lambda found: len(found) >= 200)
    places = {(record.partition, record.offset) for record in first + rest}
    assert len(places) == 500


@pytest.mark.kafka
def test_a_broker_that_is_not_there_yet(own_kafka: PrivateBroker, open_source: Open) -> None:
    """Starting before the broker is a transient error that names it; once it is there, records come."""
    topic = own_kafka.create_topic()
    own_kafka.produce(topic, values(1))
    own_kafka.kill()
    threads = threading.active_count()
    source = open_source(own_kafka, topic)
    for _ in range(2):
        line = trouble(source, TransientError)
        assert "not reached" in line
        assert "\n" not in line
    assert threading.active_count() <= threads + 3, "failed attempts leave threads behind"
    own_kafka.start()
    assert len(patient(source, lambda found: len(found) == 1)) == 1


@pytest.mark.kafka
def test_the_store_is_asked_again(kafka_broker: Broker, open_source: Open) -> None:
    """A store that does not answer on assignment is told and asked again; nothing is read before."""
    topic = kafka_broker.create_topic()
    kafka_broker.produce(topic, values(10))
    calls: list[int] = []

    def resume(partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        calls.append(len(partitions))
        if len(calls) < 3:
            raise RuntimeError("the database is away")
        return dict.fromkeys(partitions, 4)

    source = open_source(kafka_broker, topic, resume)
    assert "the database is away" in trouble(source, TransientError)
    records = patient(source, lambda found: len(found) >= 6)
    assert [record.offset for record in records] == [4, 5, 6, 7, 8, 9]


@pytest.mark.kafka
def test_a_topic_that_ends_before_the_position_is_refused(kafka_broker: Broker, open_source: Open) -> None:
    """With either setting, and nothing of it is read as if it went on."""
    topic = kafka_broker.create_topic()
    kafka_broker.produce(topic, values(10))
    for reset in ("earliest", "none"):
        positions = Positions({Partition(topic, 0): 500})
        line = trouble(open_source(kafka_broker, topic, positions, auto_offset_reset=reset), FatalError)
        assert "the store has read to 500: the topic was made anew" in line


@pytest.mark.kafka
def test_lost_offsets_are_waited_for(kafka_broker: Broker, open_source: Open) -> None:
    """What retention took is named by number, nothing is passed over, and what begins there is read as soon
    as the store stands beyond it. A partition that was never read just begins where it begins.
    """
    topic = kafka_broker.create_topic(partitions=2)
    for partition in range(2):
        kafka_broker.produce(topic, values(100), partition=partition)
    retain(kafka_broker, topic, {0: 50, 1: 50})
    positions = Positions({Partition(topic, 0): 20})
    source = open_source(kafka_broker, topic, positions)
    assert lost(source) == [Loss(Partition(topic, 0), 20, 50)]
    retain(kafka_broker, topic, {0: 60})
    deadline = time.monotonic() + DEADLINE_S
    while (found := lost(source)) != [Loss(Partition(topic, 0), 20, 60)]:
        assert time.monotonic() < deadline, found
    positions.known[Partition(topic, 0)] = 60
    records = patient(source, lambda found: len(found) == 90)
    assert [each.offset for each in records if each.partition.partition == 0] == list(range(60, 100))
    assert [each.offset for each in records if each.partition.partition == 1] == list(range(50, 100))
    assert not any(each.lost for each in records)


def retain(broker: Broker, topic: str, begins: Mapping[int, int]) -> None:
    """Removes what is before that offset of each partition, as retention does."""
    from kafka.admin import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    admin.delete_records({TopicPartition(topic, each): offset for each, offset in begins.items()})
    admin.close()


def lost(source: KafkaSource) -> list[Loss]:
    """What the source says that it lost."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            source.receive(0.2)
        except OffsetsLostError as error:
            told = str(error)
            return list(error.losses) if str(error.losses[0]) in told and "\n" not in told else []
        except TransientError:
            time.sleep(0.05)
    raise AssertionError("nothing is lost")


@pytest.mark.kafka
def test_an_absent_topic_is_told_and_waited_for(kafka_broker: Broker, open_source: Open) -> None:
    """A topic that does not exist is named; when it is created, it is read."""
    topic = f"t-{uuid.uuid4().hex[:12]}"
    source = open_source(kafka_broker, topic)
    assert f"topic '{topic}' does not exist" in trouble(source, TransientError)
    kafka_broker.create_topic(name=topic)
    kafka_broker.produce(topic, values(3))
    assert len(patient(source, lambda found: len(found) >= 3)) == 3


@pytest.mark.kafka
def test_positions_are_committed_for_lag_tools(kafka_broker: Broker, open_source: Open) -> None:
    """What the store has is what the group has committed, at the latest after close."""
    from kafka import KafkaConsumer

    topic = kafka_broker.create_topic()
    kafka_broker.produce(topic, values(25))
    group = f"g-{uuid.uuid4().hex[:12]}"
    source = open_source(kafka_broker, topic, group_id=group)
    patient(source, lambda found: len(found) >= 25)
    source.close()
    tool = KafkaConsumer(bootstrap_servers=kafka_broker.bootstrap, group_id=group)
    try:
        assert tool.committed(TopicPartition(topic, 0)) == 25
    finally:
        tool.close()


def test_an_unreachable_broker(open_source: Open) -> None:
    """Nobody at the port: a transient error with address and reason, and a quick close."""
    (port,) = free_ports(1)
    source = open_source(f"127.0.0.1:{port}", "t", bootstrap_timeout_s=1.0)
    line = trouble(source, TransientError)
    assert f"kafka 127.0.0.1:{port}: not reached" in line
    assert "efused" in line or "111" in line
    before = time.monotonic()
    source.close()
    assert time.monotonic() - before < 30


def test_a_long_outage_uses_up_no_descriptors(open_source: Open) -> None:
    """Attempt after attempt fails, and no open file is left of them."""
    (port,) = free_ports(1)
    before = len(list(Path("/dev/fd").iterdir()))
    source = open_source(f"127.0.0.1:{port}", "t", bootstrap_timeout_s=0.2)
    for _ in range(5):
        trouble(source, TransientError)
    source.close()
    assert len(list(Path("/dev/fd").iterdir())) <= before + 1


@pytest.mark.kafka
def test_a_cluster_is_tried_without_joining_the_group(kafka_broker: Broker, open_source: Open) -> None:
    """Its partitions are counted, a topic that is not there is named, and the source keeps what it reads."""
    topic = kafka_broker.create_topic(partitions=3)
    source = open_source(kafka_broker, topic)
    kafka_broker.produce(topic, values(30))
    patient(source, lambda found: len(found) >= 30)
    options = source._options
    assert partitions(options) == 3
    with pytest.raises(TransientError, match="topic 'absent' does not exist or may not be read"):
        partitions(replace(options, topics=(topic, "absent")))
    with pytest.raises(TransientError, match=r"kafka 127\.0\.0\.1:1: not reached"):
        partitions(replace(options, bootstrap_servers="127.0.0.1:1", bootstrap_timeout_s=0.5))
    kafka_broker.produce(topic, values(30))
    assert len(patient(source, lambda found: len(found) >= 30)) == 30


def test_a_trouble_stays_until_it_is_over(kafka_broker: Broker, open_source: Open) -> None:
    """A topic that is not there is told at every call, and nothing looks well in between; then it is read."""
    topic = f"t-{uuid.uuid4().hex[:12]}"
    source = open_source(kafka_broker, topic)
    told = set()
    for _ in range(20):
        with pytest.raises(TransientError) as caught:
            source.receive(0.1)
        told.add(str(caught.value))
    assert "does not exist" in max(told, key=len)
    kafka_broker.create_topic(name=topic)
    kafka_broker.produce(topic, values(1))
    assert len(patient(source, lambda found: len(found) == 1)) == 1
    assert source.receive(0.0) == []


@pytest.mark.kafka
def test_what_retention_took_is_told(kafka_broker: Broker, open_source: Open) -> None:
    """A partition that goes on beyond where the store stood: how many were never read, once."""
    from kafka.admin import KafkaAdminClient

    topic = kafka_broker.create_topic()
    kafka_broker.produce(topic, values(100))
    admin = KafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap)
    admin.delete_records({TopicPartition(topic, 0): 50})
    admin.close()
    positions = Positions({Partition(topic, 0): 20})
    source = open_source(kafka_broker, topic, positions, auto_offset_reset="earliest")
    found = patient(source, lambda found: len(found) == 50)
    assert [(found[0].offset, found[0].lost), sum(each.lost for each in found)] == [(50, 30), 30]


@pytest.mark.kafka
def test_gaps_in_which_nothing_was_lost_are_not_told(kafka_broker: Broker, open_source: Open) -> None:
    """Transactions leave markers between records: the log's beginning says that nothing is gone."""
    from kafka import KafkaProducer

    topic = kafka_broker.create_topic()
    producer = KafkaProducer(bootstrap_servers=kafka_broker.bootstrap, transactional_id=topic)
    producer.init_transactions()
    for value in values(3):
        producer.begin_transaction()
        producer.send(topic, value)
        producer.commit_transaction()
    producer.close()
    found = patient(
        open_source(kafka_broker, topic, Positions({Partition(topic, 0): 1})), lambda found: len(found) == 2
    )
    assert [(each.offset, each.lost) for each in found] == [(2, 0), (4, 0)]


def test_a_close_waits_for_no_broker(open_source: Open) -> None:
    """One that accepts and says nothing keeps the source in its first attempt; the close does not wait."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        source = open_source(f"127.0.0.1:{port}", "t", bootstrap_timeout_s=12.0)
        connection, _ = silent.accept()
        source.close()
        assert source._thread.is_alive()
        connection.close()
    source._thread.join(60)
