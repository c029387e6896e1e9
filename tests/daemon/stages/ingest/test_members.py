"""Members of one Kafka group on one PostgreSQL, that come, go, stand still and fall while records flow."""

import json
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import func, select

from daemon.store.store import Store
from daemon.store.traces import POSITION, Counts
from tests.connectors.decoders.events import native
from tests.daemon.stages.ingest.test_kills import DEADLINE_S, counted, start, totals
from tests.servers.kafka import Broker

pytestmark = [pytest.mark.alone, pytest.mark.kafka, pytest.mark.postgres]

PER_SECOND = 60


class Flow:
    """Writes events to a topic until it is ended; `sent` is how many the broker has."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self._broker, self._topic = broker, topic
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.sent = 0

    @contextmanager
    def flowing(self) -> Iterator["Flow"]:
        self._thread.start()
        try:
            yield self
        finally:
            self.end()

    def end(self) -> None:
        self._end.set()
        self._thread.join()

    def _write(self) -> None:
        producer = self._broker.producer(metadata_max_age_ms=1000)
        try:
            while not self._end.wait(1 / PER_SECOND):
                value = json.dumps(native(self.sent)).encode()
                producer.send(self._topic, value=value).get(timeout=60)
                self.sent += 1
        finally:
            producer.close()


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, f"{what}: not in {DEADLINE_S} s"
        time.sleep(0.05)


def test_one_to_three_to_one(kafka_broker: Broker, postgres_store: Store) -> None:
    """Two join, partitions are added, one stands still beyond its session and goes on, one is asked to end,
    one is killed: at each step records go on being stored, and in the end each is there once, counted once.
    """
    topic = kafka_broker.create_topic(partitions=3)
    where = ["kafka", kafka_broker.bootstrap, topic, f"g-{uuid.uuid4().hex[:12]}"]
    members: list[subprocess.Popen[bytes]] = []

    def moved() -> None:
        """Of every partition that is written to, records are stored from here on."""
        before = positions(postgres_store)
        until(
            lambda: all(at > before.get(each, 0) for each, at in positions(postgres_store).items()),
            "no record",
        )

    try:
        with Flow(kafka_broker, topic).flowing() as flow:
            members.append(start(postgres_store, where))
            until(lambda: len(positions(postgres_store)) == 3, "three partitions")
            members += [start(postgres_store, where) for _ in range(2)]
            for member in members:
                assert member.stdout is not None
                member.stdout.readline()  # it has stored something itself
            add_partitions(kafka_broker, topic, 5)
            until(lambda: len(positions(postgres_store)) == 5, "five partitions")
            one, two, three = members
            one.send_signal(signal.SIGSTOP)
            time.sleep(3.0)  # twice its session: the others have its share
            moved()
            one.send_signal(signal.SIGCONT)
            two.terminate()
            assert two.wait(DEADLINE_S) == 0
            three.kill()
            moved()
            flow.end()
            until(lambda: totals(postgres_store).records >= flow.sent, "the rest")
            assert one.poll() is None
    finally:
        for member in members:
            member.send_signal(signal.SIGCONT)
            member.kill()
            member.communicate()
    assert totals(postgres_store) == Counts(records=flow.sent, stored=flow.sent)
    assert counted(postgres_store, "SELECT count(DISTINCT event_id) FROM trace") == flow.sent
    assert counted(postgres_store, "SELECT count(*) FROM trace") == flow.sent


def positions(store: Store) -> dict[int, int]:
    query = select(POSITION.c.partition, func.max(POSITION.c.next_offset)).group_by(POSITION.c.partition)
    return {row[0]: row[1] for row in store.read(lambda c: c.execute(query).all())}


def add_partitions(broker: Broker, topic: str, count: int) -> None:
    from kafka.admin import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    try:
        admin.create_partitions({topic: count})
    finally:
        admin.close()
