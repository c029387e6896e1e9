"""What is ingested is stored exactly once, on both databases, and counted as it is stored."""

import random
import threading

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select, text

from connectors.base import Partition
from connectors.decoders.detect import Decoders
from connectors.errors import DecodeError, TransientError
from connectors.memory import MemorySource
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.bad_rows import store_isolated
from daemon.store import traces
from daemon.store.store import Store, StoreBusyError
from daemon.store.traces import Arrival, Counts, positions, store_batch
from policies.policy import Splits
from policies.records import Trace
from tests.connectors.decoders.events import mutated, native, openai
from tests.daemon.stages.ingest.intake import Make, T, drain, raw, rows


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_a_batch_is_stored_whole(store: Store, source: MemorySource, make: Make, metrics: Metrics) -> None:
    """Traces with their logged candidates, dead letters, position, metrics: all of one batch."""
    for value in (raw(native(1, adapter="ada")), b"{nope", raw(openai(2)), None):
        source.append(value)
    stage = make()
    assert stage.step(0.1) == 4
    assert stage.totals == Counts(records=4, stored=2, dead_letters=1, skipped=1)
    assert store.read(lambda c: positions(c, "memory", [T, Partition("t", 9)])) == {T: 4}
    found = store.read(
        lambda c: c.execute(
            text(
                "SELECT t.event_id, t.revision, t.model, t.adapter, c.origin, c.adapter, c.text, c.sample "
                "FROM trace t JOIN candidate c ON c.trace_id = t.id ORDER BY t.event_id"
            )
        ).all()
    )
    assert [tuple(row) for row in found] == [
        ("chatcmpl-2", 0, "gpt-x-2026-01-01", None, "logged", "", "You are Ada.", 0),
        ("e-1", 0, None, "ada", "logged", "ada", "Open settings, then security (1).", 0),
    ]
    dead = store.read(
        lambda c: c.execute(
            text('SELECT "offset", "index", body, reason FROM dead_letter ORDER BY "offset"')
        ).all()
    )
    assert [(row[0], row[1], bytes(row[2])) for row in dead] == [(1, 0, b"{nope")]
    assert "not JSON" in dead[0][3]
    assert sample(metrics.registry, "rlaifd_records_total", source="memory", outcome="stored") == 2
    assert sample(metrics.registry, "rlaifd_records_total", source="memory", outcome="dead_letter") == 1
    assert sample(metrics.registry, "rlaifd_records_total", source="memory", outcome="skipped") == 1
    assert (
        sample(metrics.registry, "rlaifd_data_newest_event_timestamp_seconds", source="memory")
        == 1_700_000_002
    )
    lag = {"source": "memory", "topic": "t", "partition": "0"}
    assert sample(metrics.registry, "rlaifd_consumer_lag_records", **lag) == 0


def test_logged_answers_that_were_cut_off_are_stored_and_counted(
    store: Store, source: MemorySource, make: Make, metrics: Metrics
) -> None:
    """The candidate is truncated, and has the thought apart from its text."""
    thought = {"role": "assistant", "content": "<think>which account</think>Open settings"}
    for value in (native(1, truncated=True, output=[thought]), native(2)):
        source.append(raw(value))
    make().step(0.1)
    found = store.read(lambda c: c.execute(text("SELECT text, truncated FROM candidate ORDER BY id")).all())
    assert [(each.text, bool(each.truncated)) for each in found] == [
        ("Open settings", True),
        ("Open settings, then security (2).", False),
    ]
    counted = {"origin": "logged"}
    assert sample(metrics.registry, "rlaifd_answers_total", ending="cut", **counted) == 1
    assert sample(metrics.registry, "rlaifd_answers_total", ending="whole", **counted) == 1


def test_duplicates_and_revisions(store: Store, source: MemorySource, make: Make) -> None:
    """The same content again is a duplicate, other content the next revision, within a batch and across."""
    stage = make()
    source.append(raw([native(1), native(1), native(1, session="b")]))
    source.append(raw(native(1)))
    assert stage.step(0.1) == 2
    assert stage.totals == Counts(records=2, stored=1, duplicates=2, revisions=1)
    source.append(raw([native(1, session="b"), native(1, session="c"), native(1, ts=9.0)]))
    stage.step(0.1)
    assert stage.totals == Counts(records=3, stored=1, duplicates=4, revisions=2)
    revisions = store.read(
        lambda c: c.execute(text("SELECT revision, session FROM trace ORDER BY revision")).all()
    )
    assert [tuple(row) for row in revisions] == [(0, None), (1, "b"), (2, "c")]
    assert rows(store, "candidate") == 3


def test_a_restart_reads_on_at_the_position(store: Store, source: MemorySource, make: Make) -> None:
    """Another process goes on where the store is; what was received but not stored comes again."""
    for number in range(30):
        source.append(raw(native(number)))
    first = make(batch_records=10)
    first.step(0.1)
    again = MemorySource()
    for number in range(30):
        again.append(raw(native(number)))
    second = make(source=again)
    assert drain(second) == 20
    assert rows(store, "trace") == 30
    assert second.totals.duplicates == 0


def test_records_counted_before_are_passed_over(store: Store) -> None:
    """A zombie that stores an old batch again changes neither rows nor counts nor position."""
    event = Decoders().decode(raw(native(1)), source="s", timestamp=None)
    poison: tuple[Trace | DecodeError, ...] = (DecodeError("bad"),)
    batch = [Arrival(T, 7, 8, b"1", tuple(event)), Arrival(T, 8, 9, b"2", poison)]

    def write(part: list[Arrival]) -> Counts:
        return store.write(lambda c: store_batch(c, source="s", arrivals=part, splits=Splits(), now=1.0))

    assert write(batch) == Counts(records=2, stored=1, dead_letters=1)
    assert write(batch) == Counts()
    assert write(batch[:1]) == Counts()
    assert store.read(lambda c: positions(c, "s", [T])) == {T: 9}
    assert write([*batch, Arrival(T, 12, 13, b"", poison)]) == Counts(records=1, dead_letters=1)
    assert write([]) == Counts()


def test_a_cluster_keeps_its_split(store: Store) -> None:
    """A cluster that is stored stays in its split when the configured shares change."""
    everything = {"train": 0.0, "calibrate": 0.0, "audit": 0.0, "gate": 0.0}
    for offset, split in enumerate(("gate", "train")):
        event = native(offset, messages=[{"role": "user", "content": "Same question?"}])
        outcomes = tuple(Decoders().decode(raw(event), source="s", timestamp=None))
        splits = Splits(**{**everything, split: 1.0})
        arrivals = [Arrival(T, offset, offset + 1, b"", outcomes)]
        store_isolated(store, source="s", arrivals=arrivals, splits=splits, now=1.0)
    found = store.read(lambda c: c.execute(text("SELECT split FROM trace")).scalars().all())
    assert list(found) == ["gate", "gate"]


def test_errors_of_the_source_pass_through(source: MemorySource, make: Make) -> None:
    """A transient error is raised and the next step goes on."""
    stage = make()
    source.fail(TransientError("the broker is away"))
    with pytest.raises(TransientError, match="away"):
        stage.step(0.1)
    source.append(raw(native(1)))
    assert stage.step(0.1) == 1
    stage.close()


def test_a_failed_write_keeps_the_batch(
    store: Store, source: MemorySource, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the database fails, the batch stays pending and is stored before anything newer is read."""
    stage = make(batch_records=5)
    for number in range(10):
        source.append(raw(native(number)))

    def lost(*_: object, **__: object) -> Counts:
        raise StoreBusyError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("daemon.stages.ingest.bad_rows.store_batch", lost)
        for _ in range(2):
            with pytest.raises(StoreBusyError):
                stage.step(0.1)
    assert rows(store, "trace") == 0
    assert drain(stage) == 10
    assert stage.totals == Counts(records=10, stored=10)


@pytest.mark.parametrize("seed", range(3))
def test_in_is_stored_plus_dead(
    seed: int, store: Store, source: MemorySource, make: Make, metrics: Metrics
) -> None:
    """Of a thousand damaged records every event is stored or a dead letter; tables and counts agree."""
    rng = random.Random(seed)
    stage = make(dead_letter_ratio=1.0)
    events = 0
    for _ in range(1000):
        value = mutated(rng, rng.choice([None, 7, "x", [], {}, float("nan"), "\ud800", {"a": [1]}]))
        source.append(value)
        source.append(raw(native(rng.randrange(300))))  # keeps runs of bad records short
        events += 1 + len(Decoders().decode(value, source="memory", timestamp=0.0))
    drain(stage)
    totals = stage.totals
    assert totals.records == 2000
    assert totals.events == events
    assert rows(store, "trace") == rows(store, "candidate") == totals.stored + totals.revisions
    assert rows(store, "dead_letter") == totals.dead_letters
    position = store.read(
        lambda c: c.execute(select(*(traces.POSITION.c[name] for name in Counts.__dataclass_fields__))).one()
    )
    assert Counts(*position) == totals


@pytest.mark.postgres
def test_two_writers_race(postgres_store: Store) -> None:
    """Two writers of the same events at once: each event is stored once, the other time a duplicate."""
    events = [native(number, session="s") for number in range(200)]
    total: list[Counts] = []

    def write(partition: int) -> None:
        order = events if partition else events[::-1]
        for start in range(0, 200, 20):
            arrivals = [
                Arrival(
                    Partition("t", partition), start + index, start + index + 1, b"",
                    tuple(Decoders().decode(raw(event), source="s", timestamp=None)),
                )
                for index, event in enumerate(order[start : start + 20])
            ]  # fmt: skip
            total.append(
                store_isolated(postgres_store, source="s", arrivals=arrivals, splits=Splits(), now=1.0)
            )

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(total, Counts()) == Counts(records=400, stored=200, duplicates=200)
    assert rows(postgres_store, "trace") == rows(postgres_store, "candidate") == 200


def test_positions_of_many_partitions(store: Store) -> None:
    """Positions are answered for more partitions than one statement takes."""
    bad: tuple[Trace | DecodeError, ...] = (DecodeError("x"),)
    arrivals = [Arrival(Partition("t", number), 3, 4, b"", bad) for number in range(1200)]
    store.write(lambda c: store_batch(c, source="s", arrivals=arrivals, splits=Splits(), now=1.0))
    wanted = [Partition("t", number) for number in range(1300)]
    found = store.read(lambda c: positions(c, "s", wanted))
    assert found == {Partition("t", number): 4 for number in range(1200)}
    count = store.read(lambda c: c.execute(select(func.count()).select_from(traces.DEAD_LETTER)).scalar_one())
    assert count == 1200
