"""What becomes of a topic under a running source: cut by retention, made anew, compacted, transactional."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from kafka import TopicPartition

from connectors.base import Partition
from connectors.decoders.detect import Decoders
from connectors.errors import ConnectorError, FatalError, TransientError
from connectors.sources.kafka.client import KafkaOptions
from connectors.sources.kafka.source import KafkaSource
from daemon.clock import SystemClock
from daemon.errors import SourceStoppedError
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.ingest import Ingest
from daemon.stages.ingest.intake import IntakeRule
from daemon.store import losses
from daemon.store.store import Store
from daemon.store.traces import Counts, positions
from policies.policy import Splits
from tests.connectors.decoders.events import native
from tests.daemon.stages.ingest.test_kills import totals
from tests.daemon.stages.ingest.test_members import until
from tests.servers.kafka import Broker

pytestmark = [pytest.mark.alone, pytest.mark.kafka]

Open = Callable[..., Ingest]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def open_stage(kafka_broker: Broker, sqlite_store: Store, metrics: Metrics) -> Iterator[Open]:
    """Makes stages that read a topic, and closes them."""
    stages: list[Ingest] = []

    def opened(topic: str, name: str = "s") -> Ingest:
        options = KafkaOptions(
            bootstrap_servers=kafka_broker.bootstrap, topics=(topic,), group_id=f"g-{uuid.uuid4().hex[:12]}"
        )
        stages.append(
            Ingest(
                source=KafkaSource(name=name, options=options), decoders=Decoders(), store=sqlite_store,
                metrics=metrics, clock=SystemClock(), rule=IntakeRule(Splits()),
            )
        )  # fmt: skip
        return stages[-1]

    yield opened
    for stage in stages:
        stage.close()


def events(first: int, end: int) -> list[bytes]:
    return [json.dumps(native(number)).encode() for number in range(first, end)]


def stored(stage: Ingest, store: Store, count: int) -> None:
    """Steps until so many events are in the store."""

    def enough() -> bool:
        with suppress(TransientError):
            stage.step(0.2)
        return totals(store).stored >= count

    until(enough, f"{count} events")


def refusal(stage: Ingest, kind: type[Exception]) -> str:
    """The line with which the stage stops."""
    lines: list[str] = []

    def refused() -> bool:
        try:
            stage.step(0.2)
        except (ConnectorError, SourceStoppedError) as error:
            if isinstance(error, kind):
                lines.append(str(error))
            elif not isinstance(error, TransientError):
                raise
        return bool(lines)

    until(refused, kind.__name__)
    return lines[0]


def test_retention_that_passes_the_position(
    kafka_broker: Broker, sqlite_store: Store, metrics: Metrics, open_stage: Open
) -> None:
    """The source waits with the command; the word given, it goes on by itself where the log begins."""
    from kafka.admin import KafkaAdminClient

    topic = kafka_broker.create_topic()
    kafka_broker.produce(topic, events(0, 10))
    first = open_stage(topic)
    stored(first, sqlite_store, 10)
    first.close()
    kafka_broker.produce(topic, events(10, 40))
    admin = KafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap)
    admin.delete_records({TopicPartition(topic, 0): 25})
    admin.close()
    stage = open_stage(topic)
    line = refusal(stage, SourceStoppedError)
    assert f"15 of {topic}-0 (10 to 24)" in line
    assert "rlaifd ingest --accept s" in line
    assert totals(sqlite_store).stored == 10
    assert sqlite_store.write(lambda c: losses.accept(c, "s", actor="ann", now=1.0))
    stored(stage, sqlite_store, 25)
    assert totals(sqlite_store) == Counts(records=25, stored=25)
    where = Partition(topic, 0)
    assert sqlite_store.read(lambda c: positions(c, "s", [where])) == {where: 40}
    assert metrics.registry.get_sample_value("rlaifd_records_lost_total", {"source": "s"}) == 15


def test_a_topic_that_is_made_anew(kafka_broker: Broker, sqlite_store: Store, open_stage: Open) -> None:
    """It is refused with the way out; under another name of the source all of it is stored, once."""
    from kafka.admin import KafkaAdminClient

    topic = kafka_broker.create_topic()
    kafka_broker.produce(topic, events(0, 10))
    first = open_stage(topic)
    stored(first, sqlite_store, 10)
    first.close()
    admin = KafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap)
    admin.delete_topics([topic])
    until(lambda: topic not in admin.list_topics(), "the topic's end")
    admin.close()
    kafka_broker.create_topic(name=topic)
    kafka_broker.produce(topic, events(10, 14))
    line = refusal(open_stage(topic), FatalError)
    assert "the store has read to 10: the topic was made anew" in line
    assert "give the source another name" in line
    stored(open_stage(topic, "t"), sqlite_store, 14)
    assert totals(sqlite_store) == Counts(records=14, stored=14)


def test_transactions_and_those_that_were_aborted(
    kafka_broker: Broker, sqlite_store: Store, metrics: Metrics, open_stage: Open
) -> None:
    """What was committed is stored, what was aborted is not, and no gap is taken for a loss."""
    topic = kafka_broker.create_topic()
    producer = kafka_broker.producer(transactional_id=topic)
    producer.init_transactions()
    for number in range(12):
        producer.begin_transaction()
        for value in events(3 * number, 3 * number + 3):
            producer.send(topic, value)
        producer.flush(timeout=60)
        producer.abort_transaction() if number % 3 == 1 else producer.commit_transaction()
        if number == 5:
            stage = open_stage(topic)
            stored(stage, sqlite_store, 12)
            stage.close()
    producer.close()
    stored(open_stage(topic), sqlite_store, 24)
    assert totals(sqlite_store) == Counts(records=24, stored=24)
    assert not metrics.registry.get_sample_value("rlaifd_records_lost_total", {"source": "s"})


def test_a_compacted_topic(
    kafka_broker: Broker, sqlite_store: Store, metrics: Metrics, open_stage: Open
) -> None:
    """The last record of each key is stored; what compaction took is no loss, also behind the position."""
    quick = {
        "cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01",
        "min.compaction.lag.ms": "0", "max.compaction.lag.ms": "100",
    }  # fmt: skip
    topic = kafka_broker.create_topic(configs=quick)
    producer = kafka_broker.producer()

    def said(first: int, end: int) -> None:
        for number in range(first, end):
            producer.send(topic, key=b"k%d" % (number % 5), value=events(number, number + 1)[0])
        producer.flush(timeout=60)

    said(0, 5)
    first = open_stage(topic)
    stored(first, sqlite_store, 5)
    first.close()
    said(5, 100)

    def compacted() -> bool:
        """Rolls a segment, and looks whether what is before it was compacted."""
        said(100, 105)
        return records(kafka_broker, topic) < 60

    until(compacted, "compaction")
    producer.close()
    stage = open_stage(topic)
    stored(stage, sqlite_store, 10)
    ids = set(sqlite_store.read(lambda c: list(c.exec_driver_sql("SELECT event_id FROM trace").scalars())))
    assert {f"e-{number}" for number in (*range(5), *range(100, 105))} <= ids
    assert not metrics.registry.get_sample_value("rlaifd_records_lost_total", {"source": "s"})


def records(broker: Broker, topic: str) -> int:
    """How many records are left of the first hundred."""
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap)
    try:
        where = TopicPartition(topic, 0)
        consumer.assign([where])
        consumer.seek_to_beginning(where)
        end, found = consumer.end_offsets([where])[where], 0
        while consumer.position(where) < end:
            polled = consumer.poll(timeout_ms=500, max_records=1000).get(where, [])
            found += sum(each.offset < 100 for each in polled)
        return found
    finally:
        consumer.close()
