"""kill -9 in ingest, again and again: nothing is lost, nothing is doubled, the counts add up."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from daemon.store.store import Store
from daemon.store.traces import POSITION, Counts
from tests.conftest import ROOT
from tests.connectors.decoders.events import native
from tests.daemon.stages.ingest.child import Moment
from tests.servers.kafka import Broker

KILLS = 10
DEADLINE_S = 90.0


def killed_and_finished(store: Store, where: list[str], done: Callable[[], bool], rng: random.Random) -> None:
    """Runs the child, kills it KILLS times after it stored something, then lets it end. Over Kafka it dies in
    turn within a transaction, between the two commits, while it ends, and at a random moment.
    """
    deadline = time.monotonic() + DEADLINE_S
    moments = [*Moment, None] if where[0] == "kafka" else [None]
    for life in range(KILLS + 1):
        moment = moments[life % len(moments)] if life < KILLS else None
        child = start(store, where, moment)
        try:
            assert child.stdout is not None
            if life < KILLS:
                assert not done(), f"finished after {life} kills: too few to tell"
                child.stdout.readline()  # it has committed a batch
                if moment is Moment.DRAINING:
                    child.terminate()
                if moment is not None:
                    assert child.wait(DEADLINE_S) == -signal.SIGKILL, moment
                    continue
                time.sleep(rng.random() * 0.05)
                continue
            while not done():
                assert time.monotonic() < deadline, f"not finished in {DEADLINE_S} s"
                assert child.poll() is None, "the child died by itself"
                time.sleep(0.05)
        finally:
            child.kill()
            child.communicate()


def start(store: Store, where: list[str], moment: Moment | None = None) -> subprocess.Popen[bytes]:
    kind, *rest = where
    environment = os.environ | ({} if moment is None else {"RLAIFD_TEST_DIE": moment.value})
    url = store.url.render_as_string(hide_password=False)
    command = [sys.executable, "-W", "ignore", "-m", "tests.daemon.stages.ingest.child", kind, url, *rest]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )


def totals(store: Store) -> Counts:
    """The sums over all positions."""
    columns = [func.coalesce(func.sum(POSITION.c[each.name]), 0) for each in fields(Counts)]
    return Counts(*store.read(lambda c: c.execute(select(*columns)).one()))


def counted(store: Store, query: str) -> int:
    return int(store.read(lambda c: c.execute(text(query)).scalar_one()))


def events(count: int, rng: random.Random) -> tuple[list[bytes], int, int]:
    """Records with duplicates and poison in them; how many distinct events and how many poison."""
    records = [json.dumps(native(number)).encode() for number in range(count)]
    records += rng.sample(records, count // 20)
    poison = [b'{"poison": %d' % number for number in range(count // 100)]
    records += poison
    rng.shuffle(records)
    return records, count, len(poison)


@pytest.mark.kafka
def test_a_member_with_a_name_goes_on_at_once(kafka_broker: Broker, sqlite_store: Store) -> None:
    """Killed again and again in a session of ten minutes, which nobody waits out: new records are read."""
    topic = kafka_broker.create_topic(partitions=3)
    where = ["kafka", kafka_broker.bootstrap, topic, f"g-{uuid.uuid4().hex[:12]}", "one-1"]
    for life in range(4):
        kafka_broker.produce(topic, [json.dumps(native(10 * life + each)).encode() for each in range(10)])
        child, deadline = start(sqlite_store, where), time.monotonic() + DEADLINE_S
        try:
            while totals(sqlite_store).stored < 10 * (life + 1):
                assert time.monotonic() < deadline, f"life {life}: not read in {DEADLINE_S} s"
                time.sleep(0.05)
        finally:
            child.kill()
            child.communicate()
    assert totals(sqlite_store) == Counts(records=40, stored=40)


@pytest.mark.kafka
def test_kills_over_kafka(kafka_broker: Broker, sqlite_store: Store) -> None:
    """Over a real broker: each event once, each poison record once, each record counted once."""
    rng = random.Random(5)
    topic = kafka_broker.create_topic(partitions=3)
    records, distinct, poison = events(3000, rng)
    kafka_broker.produce(topic, records)
    where = ["kafka", kafka_broker.bootstrap, topic, f"g-{uuid.uuid4().hex[:12]}"]
    killed_and_finished(sqlite_store, where, lambda: totals(sqlite_store).records >= len(records), rng)
    assert totals(sqlite_store) == Counts(
        records=len(records), stored=distinct, duplicates=distinct // 20, dead_letters=poison
    )
    assert counted(sqlite_store, "SELECT count(*) FROM trace") == distinct
    assert counted(sqlite_store, "SELECT count(DISTINCT event_id) FROM trace") == distinct
    assert counted(sqlite_store, "SELECT count(*) FROM candidate") == distinct
    assert counted(sqlite_store, "SELECT count(*) FROM dead_letter") == poison


def test_kills_over_rotating_files(sqlite_store: Store, tmp_path: Path) -> None:
    """Over files that are renamed, copied and truncated meanwhile: each event is stored, and only once."""
    rng = random.Random(6)
    logs = tmp_path / "logs"
    logs.mkdir()
    records, distinct, poison = events(3000, rng)
    writer = threading.Thread(target=write_and_rotate, args=(logs, records, random.Random(7)))
    writer.start()

    def done() -> bool:
        everything = counted(sqlite_store, "SELECT count(*) FROM trace") >= distinct
        bad = counted(sqlite_store, "SELECT count(DISTINCT body) FROM dead_letter") >= poison
        return everything and bad and not writer.is_alive()

    try:
        killed_and_finished(sqlite_store, ["jsonl", str(logs)], done, rng)
    finally:
        writer.join()
    found = totals(sqlite_store)
    assert (found.stored, found.revisions) == (distinct, 0)
    assert found.events == found.records == counted(sqlite_store, "SELECT sum(records) FROM position")
    assert counted(sqlite_store, "SELECT count(DISTINCT event_id) FROM trace") == distinct
    assert counted(sqlite_store, "SELECT count(*) FROM candidate") == distinct
    assert counted(sqlite_store, "SELECT count(DISTINCT body) FROM dead_letter") == poison


def write_and_rotate(logs: Path, records: list[bytes], rng: random.Random) -> None:
    """Writes in uneven pieces for some seconds; every so often rotates by rename or by copy and truncate."""
    live, rotated = logs / "agent.jsonl", 0
    data = b"".join(record + b"\n" for record in records)
    position = 0
    while position < len(data):
        step = rng.randrange(200, 4000)
        with live.open("ab") as file:
            file.write(data[position : position + step])
        position += step
        time.sleep(0.01)
        if rng.random() < 0.04:
            # Both ways of rotation happen between two writes of whole lines: finish the one under way.
            end = data.find(b"\n", position - 1) + 1
            with live.open("ab") as file:
                file.write(data[position:end])
            position = max(position, end)
            rotated += 1
            target = logs / f"agent.jsonl.{rotated}"
            if rng.random() < 0.5:
                live.rename(target)
            else:
                shutil.copyfile(live, target)
                with live.open("r+b") as file:
                    file.truncate(0)
