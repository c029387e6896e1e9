"""A topic as strangers fill it, with a manifest: what of it must be stored, refused, skipped and told apart.

`python -m tests.soak mixture` sends 10,000 events through the real broker, mixed anew three times.
"""

import gzip
import json
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, select

from connectors.decoders.detect import Decoders
from connectors.errors import TransientError
from connectors.sources.kafka.client import KafkaOptions
from connectors.sources.kafka.source import KafkaSource
from daemon.clock import SystemClock
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.ingest import Ingest
from daemon.stages.ingest.intake import IntakeRule
from daemon.store.schema import upgrade
from daemon.store.store import Store
from daemon.store.traces import DEAD_LETTER, TRACE, Counts
from policies.policy import Splits
from tests.connectors.decoders.events import native, openai
from tests.servers.kafka import Broker
from tests.soak import servers
from tests.soak.bounds import Figures, within
from tests.soak.manifest import totals, written

EVENTS: Final = 10_000
SEEDS: Final = 3
PARTITIONS: Final = 6
LARGE: Final = 2 << 20
BROKEN, REPEATED, REVISED, NO_CALLS, TOMBSTONES = 0.02, 0.03, 0.005, 0.04, 0.002
"""Shares of the events."""


@dataclass(frozen=True)
class Made:
    """One event: its records, whatever their partitions and order, and the ids under which it is stored."""

    records: tuple[bytes, ...]
    stored: tuple[str, ...]


Maker = Callable[[int], Made]


def as_native(number: int) -> Made:
    """Rlaifd's own JSON."""
    return Made((json.dumps(native(number)).encode(),), (f"e-{number}",))


def as_chat(number: int) -> Made:
    """A logged request with its response."""
    return Made((json.dumps(openai(number)).encode(),), (f"chatcmpl-{number}",))


MAKERS: Final[tuple[Maker, ...]] = (as_native, as_chat)
"""Every format that is read. Numbers are of one event, whoever makes it."""


def _wrapped(number: int, text: str) -> bytes:
    """An event with that JSON in its tags."""
    return json.dumps(native(number, tags={"a": "HERE"})).replace('"HERE"', text).encode()


BREAKERS: Final[tuple[tuple[str, Callable[[int], bytes]], ...]] = (
    ("not JSON", lambda number: b"{nope %d" % number),
    ("no decoder knows this format", lambda number: b'{"level": "info", "n": %d}' % number),
    ("not JSON", lambda number: json.dumps(native(number, tags={"a": "x" * LARGE})).encode()[:-40]),
    ("NUL", lambda number: _wrapped(number, '"a\\u0000b"')),
    ("surrogate", lambda number: _wrapped(number, '"a\\ud800b"')),
    ("nested deeper", lambda number: _wrapped(number, "[" * 90 + "]" * 90)),
    ("NaN", lambda number: _wrapped(number, "NaN")),
    ("twice", lambda number: b'{"id": "b-%d", "id": "x"}' % number),
    ("compressed with gzip", lambda number: gzip.compress(b"%d" % number, mtime=0)),
    ("Confluent's schema header", lambda number: b"\0\0\0\0\7{%d}" % number),
)
"""What makes a record one that is refused, and a word of the reason."""


@dataclass
class Manifest:
    """What was written. `dead` are bodies with a word of their reason, `revised` ids of two contents."""

    stored: list[str] = field(default_factory=list)
    revised: list[str] = field(default_factory=list)
    dead: dict[bytes, str] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    records: list[bytes | None] = field(default_factory=list)


def mixed(count: int, rng: random.Random, makers: Sequence[Maker] = MAKERS) -> Manifest:
    """So many events by the makers in turn, with all that comes between them, in a random order."""
    manifest = Manifest()
    ordinary = count - round(count * (BROKEN + REPEATED + REVISED + NO_CALLS + TOMBSTONES))
    for number in range(ordinary):
        made = makers[number % len(makers)](number)
        manifest.records += made.records
        manifest.stored += made.stored
    again = rng.sample(manifest.records, round(count * REPEATED))
    manifest.records += again
    manifest.duplicates = len(again)
    for number in range(0, ordinary, max(1, ordinary // round(count * REVISED))):
        event = native(number, session="another")
        manifest.records.append(json.dumps(event).encode())
        known = event["id"] in manifest.stored
        (manifest.revised if known else manifest.stored).append(event["id"])
    for number in range(round(count * BROKEN)):
        word, make = BREAKERS[number % len(BREAKERS)]
        manifest.records.append(body := make(number))
        manifest.dead[body] = word
    spans = round(count * NO_CALLS)
    for number in range(0, spans, 4):
        names = [{"name": f"GET /{number + each}", "spanId": "1", "attributes": []} for each in range(4)]
        scope = {"resourceSpans": [{"scopeSpans": [{"spans": names[: spans - number]}]}]}
        manifest.records.append(json.dumps(scope).encode())
        manifest.skipped["no_model_call"] += len(names[: spans - number])
    for _ in range(round(count * TOMBSTONES)):
        manifest.records.append(None)
        manifest.skipped["tombstone"] += 1
    rng.shuffle(manifest.records)
    return manifest


def send(broker: Broker, manifest: Manifest, rng: random.Random) -> str:
    """Writes it to a topic of its own, over its partitions, and returns the topic."""
    topic = broker.create_topic(PARTITIONS, configs={"max.message.bytes": str(2 * LARGE)})
    producer = broker.producer(max_request_size=2 * LARGE)
    try:
        sent = [
            producer.send(topic, value=value, key=b"k", partition=rng.randrange(PARTITIONS))
            for value in manifest.records
        ]
        for each in sent:
            each.get(timeout=120)
    finally:
        producer.close()
    return topic


@contextmanager
def reading(broker: Broker, topic: str, store: Store, metrics: Metrics) -> Iterator[Ingest]:
    """A stage that reads the topic into the store."""
    options = KafkaOptions(
        bootstrap_servers=broker.bootstrap, topics=(topic,), group_id=f"g-{uuid.uuid4().hex[:12]}"
    )
    stage = Ingest(
        source=KafkaSource(name="s", options=options),
        decoders=Decoders(),
        store=store,
        metrics=metrics,
        clock=SystemClock(),
        rule=IntakeRule(Splits()),
    )
    try:
        yield stage
    finally:
        stage.close()


def read(stage: Ingest, records: int) -> None:
    """Steps until that many records are in the store."""
    while stage.totals.records < records:
        try:
            stage.step(0.2)
        except TransientError:
            continue


def differences(connection: Connection, manifest: Manifest, metrics: Metrics) -> dict[str, float]:
    """How far the store and the metrics are from the manifest: all 0 where they agree."""
    ids = Counter(connection.scalars(select(TRACE.c.event_id)))
    wanted = Counter([*manifest.stored, *manifest.revised])
    letters = [(bytes(row.body), row.reason) for row in connection.execute(select(DEAD_LETTER))]
    told = {
        reason: metrics.registry.get_sample_value(
            "rlaifd_records_skipped_total", {"source": "s", "reason": reason}
        )
        for reason in manifest.skipped
    }
    counts, skipped = totals(connection), sum(manifest.skipped.values())
    exact = Counts(
        records=len(manifest.records), stored=len(manifest.stored), duplicates=manifest.duplicates,
        revisions=len(manifest.revised), dead_letters=len(manifest.dead), skipped=skipped,
    )  # fmt: skip
    return {
        "lost": (wanted - ids).total(),
        "doubled": (ids - wanted).total(),
        "dead_lost": len(manifest.dead.keys() - {body for body, _ in letters}),
        "dead_doubled": len(letters) - len({body for body, _ in letters}),
        "unreasoned": sum(manifest.dead.get(body, "?") not in reason for body, reason in letters),
        "misskipped": sum(told[reason] != count for reason, count in manifest.skipped.items()),
        "miscounted": float(counts != exact),
    }


def once(broker: Broker, store: Store, count: int, seed: int, makers: Sequence[Maker] = MAKERS) -> Any:
    """Sends a mixture and reads it; returns the differences and the manifest."""
    rng, metrics = random.Random(seed), Metrics()
    manifest = mixed(count, rng, makers)
    topic = send(broker, manifest, rng)
    assert written(broker, topic) == len(manifest.records)
    with reading(broker, topic, store, metrics) as stage:
        read(stage, len(manifest.records))
    return store.read(lambda c: differences(c, manifest, metrics)), manifest


def run() -> Figures:
    """10,000 events, three times. Raises BoundsBrokenError."""
    figures: Figures = {}
    with servers.started() as own:
        for seed in range(SEEDS):
            store = Store(own.postgres.create())
            try:
                upgrade(store)
                found, manifest = once(own.broker, store, EVENTS, seed)
            finally:
                store.close()
            figures |= {f"mixture_{seed}_{name}": value for name, value in found.items()}
            figures[f"mixture_{seed}_records"] = float(len(manifest.records))
    exact = {name: (0.0, 0.0) for name in figures if not name.endswith("_records")}
    return within(figures, exact)
