"""The Kafka source against a real broker: outages, rebalances, back-pressure, and what the user is told."""

import dataclasses
import gc
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition
from kafka import errors as kafka_errors

from connectors.base import Partition, Record
from connectors.errors import ConnectorError, FatalError, TransientError
from connectors.sources.kafka import KafkaSource
from connectors.sources.kafka_client import KafkaOptions
from connectors.sources.kafka_errors import classified, last_reason
from tests.contracts.sources import Positions
from tests.servers.kafka import PASSWORD, Broker, PrivateBroker, free_ports, keytool

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning")
"""kafka-python 3.0 leaves the sockets of refused connections to the garbage collector."""

pytestmark = pytest.mark.alone

DEADLINE_S = 100.0
Open = Callable[..., KafkaSource]


@pytest.fixture(autouse=True)
def quiet_client() -> Iterator[None]:
    """Turns the client's log down: pytest would keep its records, and with them frames and sockets."""
    logger = logging.getLogger("kafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@pytest.fixture
def open_source() -> Iterator[Open]:
    """Starts sources with quick sessions and closes them at the end."""
    sources: list[KafkaSource] = []

    def opened(broker: Broker | str, topic: str, positions: Any = None, **options: Any) -> KafkaSource:
        given: dict[str, Any] = {
            "bootstrap_servers": broker if isinstance(broker, str) else broker.bootstrap,
            "topics": (topic,),
            "group_id": f"g-{uuid.uuid4().hex[:12]}",
            "session_timeout_s": 6.0,
            "bootstrap_timeout_s": 3.0,
            **options,
        }
        source = KafkaSource(name="s", options=KafkaOptions(**given))
        sources.append(source)
        source.start(positions or Positions())
        return source

    yield opened
    while sources:
        sources.pop().close()
    gc.collect()  # the sockets of refused connections, here and not in another test


def values(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def patient(
    source: KafkaSource, until: Callable[[list[Record]], bool], *, commit: bool = True
) -> list[Record]:
    """Receives through transient errors until the condition holds."""
    records: list[Record] = []
    deadline = time.monotonic() + DEADLINE_S
    while not until(records):
        assert time.monotonic() < deadline, f"{len(records)} records in {DEADLINE_S} s"
        try:
            batch = source.receive(0.2)
        except TransientError:
            continue
        records.extend(batch)
        if commit:
            source.commit({record.partition: record.next_offset for record in batch})
    return records


def trouble(source: KafkaSource, kind: type[ConnectorError]) -> str:
    """The line of the first error of that kind."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            source.receive(0.5)
        except kind as error:
            return str(error)
        except TransientError:
            continue
    raise AssertionError(f"no {kind.__name__} in {DEADLINE_S} s")


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


@pytest.mark.kafka
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
def test_a_topic_made_anew_is_refused(kafka_broker: Broker, open_source: Open) -> None:
    """Offsets below the store's position would be passed over as known: it stops and says so."""
    topic = kafka_broker.create_topic()
    kafka_broker.produce(topic, values(10))
    line = trouble(open_source(kafka_broker, topic, Positions({Partition(topic, 0): 500})), FatalError)
    assert "the store has read to 500: the topic was made anew" in line


@pytest.mark.kafka
def test_lost_retention_stops_where_it_is_asked_to(kafka_broker: Broker, open_source: Open) -> None:
    """With auto_offset_reset none, a position that is not retained is a fatal error; a new source starts."""
    topic = kafka_broker.create_topic()
    kafka_broker.produce(topic, values(10))
    fresh = open_source(kafka_broker, topic, auto_offset_reset="none")
    assert len(patient(fresh, lambda found: len(found) >= 10)) == 10
    lost = Positions({Partition(topic, 0): 500})
    line = trouble(open_source(kafka_broker, topic, lost, auto_offset_reset="none"), FatalError)
    assert "no longer retained" in line


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


def secure(broker: PrivateBroker, **other: Any) -> dict[str, Any]:
    return {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": "admin",
        "sasl_password": PASSWORD,
        "ssl_cafile": broker.ca,
        **other,
    }


@pytest.mark.kafka
def test_tls_scram_and_acls(secure_kafka: PrivateBroker, open_source: Open, tmp_path: Path) -> None:
    """The right settings read; each wrong one is one clear fatal line that says which setting."""
    topic = secure_kafka.create_topic()
    secure_kafka.produce(topic, values(3))
    source = open_source(secure_kafka, topic, **secure(secure_kafka))
    assert len(patient(source, lambda found: len(found) == 3)) == 3
    wrong = tmp_path / "wrong.pem"
    keytool(
        "-genkeypair",
        "-alias",
        "other",
        "-keyalg",
        "EC",
        "-validity",
        "2",
        "-dname",
        "CN=other",
        "-storetype",
        "PKCS12",
        "-keystore",
        str(tmp_path / "other.p12"),
        "-storepass",
        PASSWORD,
    )
    keytool(
        "-exportcert",
        "-rfc",
        "-alias",
        "other",
        "-keystore",
        str(tmp_path / "other.p12"),
        "-storepass",
        PASSWORD,
        "-file",
        str(wrong),
    )
    faults: list[tuple[dict[str, Any], str]] = [
        (secure(secure_kafka, sasl_password="wrong"), "user or password is wrong"),
        (secure(secure_kafka, ssl_cafile=wrong), "not signed by `ssl_cafile`"),
        ({"security_protocol": "PLAINTEXT"}, "does not speak plaintext Kafka"),
        (secure(secure_kafka, ssl_cafile=tmp_path / "absent.pem"), "absent.pem"),
    ]
    for options, words in faults:
        line = trouble(open_source(secure_kafka, topic, **options), FatalError)
        assert words in line
        assert "\n" not in line
        assert PASSWORD not in line
    line = trouble(
        open_source(secure_kafka, topic, **secure(secure_kafka, sasl_username="stranger")), TransientError
    )
    assert "may not be read" in line


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (kafka_errors.GroupAuthorizationFailedError("g"), FatalError, "grant READ on the group"),
        (kafka_errors.TopicAuthorizationFailedError({"t"}), FatalError, "may not read the topic"),
        (kafka_errors.SaslAuthenticationFailedError("no"), FatalError, "password is wrong"),
        (kafka_errors.OffsetOutOfRangeError({}), FatalError, "no longer retained"),
        (kafka_errors.UnsupportedCodecError("zstd"), FatalError, "codec"),
        (kafka_errors.CorruptRecordError(), FatalError, "damaged"),
        (kafka_errors.InconsistentGroupProtocolError(), FatalError, "another `group_id`"),
        (kafka_errors.KafkaConfigurationError("x"), FatalError, "do not fit"),
        (FileNotFoundError(2, "No such file", "ca.pem"), FatalError, "settings are wrong"),
        (kafka_errors.KafkaConnectionError("111"), TransientError, "111"),
        (kafka_errors.InvalidRequestError("odd"), TransientError, "odd"),
        (kafka_errors.NotCoordinatorError(), TransientError, "kafka b:1"),
        (kafka_errors.RebalanceInProgressError(), TransientError, "kafka b:1"),
        (RuntimeError("a bug"), TransientError, "RuntimeError: a bug"),
        (TransientError("as it is"), TransientError, "as it is"),
    ],
)
def test_errors_are_classified(error: Exception, kind: type[ConnectorError], words: str) -> None:
    """What a person must mend is fatal, what waiting mends is transient; each is one line."""
    found = classified(error, KafkaOptions(bootstrap_servers="b:1", topics=("t",), group_id="g"))
    assert type(found) is kind
    assert words in str(found)
    assert "\n" not in str(found)


def test_the_telling_reason_is_kept() -> None:
    """A later, vaguer line of the client's log does not cover the cause."""
    logger = logging.getLogger("kafka.net.manager")
    with last_reason() as reason:
        assert reason() is None
        logger.warning("Bootstrap connection to x failed: %s", "[Error 58] SaslAuthenticationFailedError")
        logger.warning("Bootstrap connection to x failed: connection refused")
        logger.error("Bootstrap failed: KafkaTimeoutError")
        assert "SaslAuthenticationFailedError" in (reason() or "")


def test_an_unreachable_broker(open_source: Open) -> None:
    """Nobody at the port: a transient error with address and reason, and a quick close."""
    (port,) = free_ports(1)
    source = open_source(f"127.0.0.1:{port}", "t", bootstrap_timeout_s=1.0)
    line = trouble(source, TransientError)
    assert f"kafka 127.0.0.1:{port}: not reached" in line
    assert "efused" in line or "111" in line
    before = time.monotonic()
    source.close()
    assert time.monotonic() - before < 4


def test_a_long_outage_uses_up_no_descriptors(open_source: Open) -> None:
    """Attempt after attempt fails, and no open file is left of them."""
    (port,) = free_ports(1)
    before = len(list(Path("/dev/fd").iterdir()))
    source = open_source(f"127.0.0.1:{port}", "t", bootstrap_timeout_s=0.2)
    for _ in range(5):
        trouble(source, TransientError)
    source.close()
    assert len(list(Path("/dev/fd").iterdir())) <= before + 1


def test_the_password_is_not_shown() -> None:
    """Options print without the password."""
    options = KafkaOptions(bootstrap_servers="b:1", topics=("t",), sasl_password="hunter2")
    assert "hunter2" not in repr(options)
    assert dataclasses.replace(options, group_id="h").sasl_password == "hunter2"
