"""What was written to a topic, and whether the store has all of it, once."""

import json
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import Connection, func, select

from daemon.store.traces import DEAD_LETTER, POSITION, TRACE, Counts
from tests.connectors.decoders.events import native
from tests.servers.kafka import Broker
from tests.soak.bounds import Figures

REPEATED, POISONED = 0.03, 0.01
"""Shares of the records that say an event again, and that no decoder knows."""
ACKNOWLEDGED_S = 120.0


@dataclass
class Manifest:
    """The events that the broker has acknowledged, and how many records no decoder knows."""

    events: list[str] = field(default_factory=list)
    poison: int = 0


@dataclass
class Writer:
    """Writes to a topic at a steady rate, also while the broker is away: its client waits and tries again."""

    broker: Broker
    topic: str
    per_second: float
    seed: int = 0
    manifest: Manifest = field(default_factory=Manifest)
    _end: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def writing(self) -> Iterator["Writer"]:
        """Writes while inside, at most until `finish`."""
        with ThreadPoolExecutor(1) as pool:
            self._written = pool.submit(self._write)
            try:
                yield self
            finally:
                self._end.set()

    def finish(self) -> Manifest:
        """Writes no more; returns what the broker has. Raises the client's error for a record refused."""
        self._end.set()
        self._written.result()
        return self.manifest

    def _write(self) -> None:
        rng, producer = random.Random(self.seed), self.broker.producer()
        sent: list[tuple[Any, Any]] = []
        events: list[bytes] = []
        try:
            while not self._end.wait(1 / self.per_second):
                key, value = self._record(rng, events)
                sent.append((key, producer.send(self.topic, value=value)))
            for key, acknowledged in sent:
                acknowledged.get(timeout=ACKNOWLEDGED_S)
                if isinstance(key, str):
                    self.manifest.events.append(key)
                self.manifest.poison += key is None
        finally:
            producer.close()

    @staticmethod
    def _record(rng: random.Random, events: list[bytes]) -> tuple[Any, bytes]:
        """The next record: an event with its id, one said again (False), or poison (None)."""
        drawn = rng.random()
        if drawn < POISONED:
            return None, json.dumps({"poison": rng.random()}).encode()
        if drawn < POISONED + REPEATED and events:
            return False, rng.choice(events)
        event = native(len(events))
        events.append(json.dumps(event).encode())
        return event["id"], events[-1]


def written(broker: Broker, topic: str) -> int:
    """How many records the topic holds."""
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, **broker.client)
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        return sum(consumer.end_offsets(partitions).values())
    finally:
        consumer.close()


def totals(connection: Connection) -> Counts:
    """What the store has counted, over all positions."""
    columns = [func.coalesce(func.sum(POSITION.c[each.name]), 0) for each in fields(Counts)]
    return Counts(*(int(each) for each in connection.execute(select(*columns)).one()))


def accounts(connection: Connection, manifest: Manifest, records: int) -> Figures:
    """How far the store is from the manifest and from a topic of so many records."""
    stored = list(connection.scalars(select(TRACE.c.event_id)))
    dead = connection.scalar(select(func.count()).select_from(DEAD_LETTER)) or 0
    found, wanted = totals(connection), len(manifest.events)
    exact = {
        "records": records,
        "stored": wanted,
        "duplicates": records - wanted - manifest.poison,
        "dead_letters": manifest.poison,
        "revisions": 0,
    }
    return {
        "records": float(found.records),
        "lost": float(len(set(manifest.events) - set(stored)) + max(0, manifest.poison - dead)),
        "doubled": float(len(stored) - len(set(stored)) + max(0, dead - manifest.poison)),
        "miscounted": float(sum(abs(getattr(found, name) - count) for name, count in exact.items())),
    }
