"""Ingest beside a bare kafka-python consumer: events a second from a real broker to committed rows.

Both read the same topic with the same settings in the same run, one after the other, from their first record
to their last. The events are rlaifd's own JSON of 1.9 KB: a conversation with a tool call. SQLite is written
with synchronous=FULL, PostgreSQL with fsync.

`python -m tests.benchmarks.ingest EVENTS` measures with other than `EVENTS`, on SQLite alone.
"""

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from connectors.decoders.detect import Decoders
from connectors.sources.kafka.client import KafkaOptions, connect
from connectors.sources.kafka.source import KafkaSource
from daemon.clock import SystemClock
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.ingest import Ingest
from daemon.stages.ingest.intake import IntakeRule
from daemon.store.schema import upgrade
from daemon.store.store import Store
from policies.policy import Splits
from tests.soak.servers import started

EVENTS = 20_000
ROUNDS = 3
PARTITIONS = 6
PATIENCE_S = 120.0
SAID = (
    "the parcel left our depot this morning and should reach you by Thursday please check the tracking "
    "number again since the carrier updates its status every hour customer order refund invoice address delay"
)
SYSTEM = (
    "You are the support agent of a parcel service. Be brief, name the order, and never promise a date that "
    "you do not know. Today is 2026-11-28. "
)


def run(events: int = EVENTS, *, databases: tuple[str, ...] = ("sqlite", "postgresql")) -> dict[str, float]:
    """The median over the rounds of ours over the bare consumer's, and the medians of both."""
    with started() as servers:
        topic = servers.broker.create_topic(PARTITIONS)
        servers.broker.produce(topic, (event(number) for number in range(events)))
        options = (servers.broker.bootstrap, topic)
        ours: dict[str, list[float]] = {name: [] for name in databases}
        bare: list[float] = []
        for number in range(ROUNDS):
            bare.append(_bare(_options(*options, f"bare-{number}"), events))
            for name in databases:
                sqlite = f"sqlite:///{servers.folder / f'bench-{number}.db'}"
                url = sqlite if name == "sqlite" else servers.postgres.create()
                ours[name].append(_ingested(url, _options(*options, f"{name}-{number}"), events))
    figures = {"ingest_bare_events_per_second": statistics.median(bare)}
    for name, prefix in (("sqlite", "ingest"), ("postgresql", "ingest_pg")):
        if name in databases:
            pairs = zip(ours[name], bare, strict=True)
            figures[f"{prefix}_ratio"] = statistics.median(each / other for each, other in pairs)
            figures[f"{prefix}_events_per_second"] = statistics.median(ours[name])
    return figures


def event(number: int) -> bytes:
    """One event of about 1.9 KB; each another conversation."""
    dice, vocabulary = random.Random(number), SAID.split()

    def said(words: int) -> str:
        return " ".join(dice.choice(vocabulary) for _ in range(words)).capitalize() + "."

    call = {"name": "lookup", "arguments": json.dumps({"order": number, "full": True})}
    found = {"order": number, "status": "in transit", "eta": "Thursday", "weight": 1.25}
    made: dict[str, Any] = {
        "id": f"ev-{number}", "ts": 1_760_000_000 + number / 4, "model": "support-7b",
        "session": f"s-{number // 5}", "subject": f"u-{number % 400}", "tags": {"channel": "web"},
        "messages": [
            {"role": "system", "content": SYSTEM * 2},
            {"role": "user", "content": said(40)},
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": f"call_{number}", "type": "function", "function": call}
            ]},
            {"role": "tool", "tool_call_id": f"call_{number}", "content": json.dumps(found)},
            {"role": "user", "content": said(32)},
        ],
        "output": [{"role": "assistant", "content": said(85)}],
    }  # fmt: skip
    return json.dumps(made).encode()


def _options(bootstrap: str, topic: str, group: str) -> KafkaOptions:
    return KafkaOptions(
        bootstrap_servers=bootstrap, topics=(topic,), group_id=group, auto_offset_reset="earliest"
    )


def _bare(options: KafkaOptions, events: int) -> float:
    consumer = connect(options, "bare")
    try:
        consumer.subscribe(topics=list(options.topics))
        return _rate(lambda: sum(map(len, consumer.poll(timeout_ms=500, max_records=500).values())), events)
    finally:
        consumer.close(autocommit=False)


def _ingested(url: str, options: KafkaOptions, events: int) -> float:
    store = Store(url)
    upgrade(store)
    stage = Ingest(
        source=KafkaSource(name="agent", options=options), decoders=Decoders(), store=store,
        metrics=Metrics(), clock=SystemClock(), rule=IntakeRule(Splits()),
    )  # fmt: skip
    stage.start()
    try:
        rate = _rate(lambda: stage.step(0.5), events)
    finally:
        stage.close()
        store.close()
    if stage.totals.stored != events:
        raise AssertionError(f"{stage.totals.stored} of {events} events were stored")
    return rate


def _rate(take: Callable[[], int], events: int) -> float:
    """Events a second from the end of the first take that gave any to the end of the last."""
    deadline = time.monotonic() + PATIENCE_S
    done = first = 0
    since = 0.0
    while done < events:
        done += take()
        if done and not first:
            first, since = done, time.perf_counter()
        if time.monotonic() > deadline:
            raise AssertionError(f"only {done} of {events} events came")
    return (events - first) / (time.perf_counter() - since)


if __name__ == "__main__":
    sys.stdout.write(f"{run(int(sys.argv[1]), databases=('sqlite',))}\n")
