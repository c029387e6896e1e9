"""A real Apache Kafka for the tests: one KRaft node on loopback, its jars fetched by Maven into a cache.

`kafka_broker` is RLAIFD_TEST_KAFKA=host:port where that is set, else a private broker shared by the session.
`own_kafka` is a private broker of one module, which its tests may kill.
`secure_kafka` is a private broker with TLS, every SASL mechanism, client certificates and ACLs.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.requirements import missing
from tests.servers import cache
from tests.servers.kafka_security import Security

if TYPE_CHECKING:
    from kafka import KafkaProducer  # imported late: every test session loads this module

VERSION = "4.1.1"
START_TIMEOUT_S = 120.0

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
 <groupId>rlaifd.tests</groupId><artifactId>kafka-broker</artifactId><version>1</version>
 <packaging>pom</packaging>
 <dependencies>
  <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
   <version>{VERSION}</version></dependency>
  <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId>
   <version>1.7.36</version></dependency>
 </dependencies></project>
"""

PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name={inner}
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
controlled.shutdown.enable=false
log.cleaner.backoff.ms=1000
"""


@dataclass
class Broker:
    """A running broker. `bootstrap` is host:port; `client` is what kafka-python's clients need beside it."""

    bootstrap: str
    client: dict[str, object] = field(default_factory=dict)

    def create_topic(
        self, partitions: int = 1, name: str | None = None, configs: Mapping[str, str] | None = None
    ) -> str:
        """Creates a topic of a name of its own and returns the name once it can be written to."""
        from kafka.admin import KafkaAdminClient, NewTopic

        topic = name or f"t-{uuid.uuid4().hex[:12]}"
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap, **self.client)
        try:
            admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=dict(configs or {}))])
        finally:
            admin.close()
        return topic

    def producer(self, **options: object) -> "KafkaProducer":
        """A producer with kafka-python's safe defaults. The caller closes it."""
        from kafka import KafkaProducer

        return KafkaProducer(bootstrap_servers=self.bootstrap, **self.client, **options)

    def produce(self, topic: str, values: Iterable[bytes | None], partition: int | None = None) -> None:
        """Writes the values and waits until the broker has all of them."""
        producer = self.producer()
        try:
            key = None
            sent = [
                producer.send(topic, value=value, key=b"k" if value is None else key, partition=partition)
                for value in values
            ]
            producer.flush(timeout=30)
            for future in sent:
                future.get(timeout=30)
        finally:
            producer.close()


class PrivateBroker(Broker):
    """A broker of our own, which can be killed and started again on the same port and data.

    A secure one has `security`: what is behind its `bootstrap` (SASL over TLS) and `mutual` (certificates).
    """

    def __init__(self, jars: Path, directory: Path, *, secure: bool = False) -> None:
        self._jars, self._directory = jars, directory
        self._port, controller, mutual = free_ports(3)
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self.security = Security(directory) if secure else None
        self.mutual = f"127.0.0.1:{mutual}"
        bootstrap = f"127.0.0.1:{self._port}"
        super().__init__(bootstrap, self.security.client() if self.security else {})
        listeners = {"SASL_SSL": bootstrap, "SSL": self.mutual} if secure else {"PLAINTEXT": bootstrap}
        text = PROPERTIES.format(
            listeners=",".join(f"{name}://{at}" for name, at in listeners.items()),
            protocols=",".join(f"{name}:{name}" for name in listeners),
            inner=next(iter(listeners)),
            controller=controller,
            data=directory / "data",
        )
        self._properties = directory / "server.properties"
        self._properties.write_text(
            text + (self.security.properties() if self.security else ""), encoding="utf-8"
        )
        self._format()

    def _java(self, *arguments: str) -> list[str]:
        trusted = self.security.java() if self.security else []
        return [
            "java", "-Xmx384m", "-cp", f"{self._jars}/*", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            *trusted, *arguments,
        ]  # fmt: skip

    def _format(self) -> None:
        cluster = subprocess.run(
            self._java("kafka.tools.StorageTool", "random-uuid"), check=True, capture_output=True, text=True
        ).stdout.split()[-1]
        users = self.security.users() if self.security else []
        tool = self._java("kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c")
        subprocess.run([*tool, str(self._properties), *users], check=True, capture_output=True)

    def start(self) -> None:
        """Starts the broker and waits until its port answers."""
        with (self._directory / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", str(self._properties)), stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                return
            time.sleep(0.1)
        tail = (self._directory / "broker.log").read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"the broker did not start: {tail}")

    def kill(self) -> None:
        """Kills it as `kill -9` does. Answers when the process is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def free_ports(count: int) -> list[int]:
    """Ports on loopback that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def jars() -> Path:
    """The broker's jars from the user's cache, filled by Maven once. Skips where that cannot be."""
    if shutil.which("java") is None:
        missing("kafka", "no `java` on the path (JDK 17), and RLAIFD_TEST_KAFKA is not set")
    with cache.alone(f"kafka-{VERSION}") as base:
        target = base / f"kafka-{VERSION}" / "lib"
        if target.is_dir():
            return target
        if shutil.which("mvn") is None:
            missing("kafka", "no `mvn` on the path to fetch the broker, and RLAIFD_TEST_KAFKA is not set")
        _fetch(base, target)
    return target


def _fetch(base: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=base) as name:
        work = Path(name)
        (work / "pom.xml").write_text(POM, encoding="utf-8")
        command = ["mvn", "-q", "-B", "-f", str(work / "pom.xml"), "dependency:copy-dependencies"]
        done = subprocess.run(
            [*command, "-DincludeScope=runtime", f"-DoutputDirectory={work / 'lib'}"],
            capture_output=True, text=True, check=False, timeout=280,
        )  # fmt: skip
        if done.returncode != 0:
            lines = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
            missing("kafka", f"Maven could not fetch Apache Kafka {VERSION}: {lines[0]}")
        target.parent.mkdir(parents=True, exist_ok=True)
        (work / "lib").rename(target)


def private(directory: Path, *, secure: bool = False) -> Iterator[PrivateBroker]:
    try:
        broker = PrivateBroker(jars(), directory, secure=secure)
        broker.start()
    except (OSError, subprocess.CalledProcessError, RuntimeError) as error:
        missing("kafka", f"a private broker could not be started: {error}")
    try:
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(directory, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """kafka-python leaves a socket to the collector where a refusal or a close cuts its connecting short."""
    for item in items:
        if item.get_closest_marker("kafka"):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning"))


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker to share: make topics and groups of your own, and leave it running."""
    given = os.environ.get("RLAIFD_TEST_KAFKA")
    if given:
        yield Broker(given)
    else:
        yield from private(tmp_path_factory.mktemp("kafka"))


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateBroker]:
    """A private broker that the tests of the module may kill and start again."""
    yield from private(tmp_path_factory.mktemp("own-kafka"))


@pytest.fixture(scope="module")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateBroker]:
    """A private broker that asks who is there. `admin` may all; see `kafka_security` for the others."""
    yield from private(tmp_path_factory.mktemp("secure-kafka"), secure=True)
