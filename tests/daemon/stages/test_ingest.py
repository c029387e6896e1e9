"""Ingest: from records to rows, exactly once, on both databases."""

import gzip
import hashlib
import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select, text

from connectors.base import Partition
from connectors.decoders.detect import Decoders
from connectors.errors import DecodeError, FatalError, TransientError
from connectors.memory import MemorySource
from daemon.clock import FakeClock
from daemon.metrics import Metrics
from daemon.stages.ingest import IN_A_ROW, MAX_BODY, Ingest, explain, ingest_file
from daemon.stages.isolation import store_isolated
from daemon.store import traces
from daemon.store.store import Store, StoreBusyError
from daemon.store.traces import Arrival, Counts, positions, store_batch
from policies.policy import Splits
from policies.records import Trace
from tests.connectors.decoders.events import native, openai
from tests.connectors.decoders.test_decoders import mutated

T = Partition("t", 0)
Make = Callable[..., Ingest]


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def make(store: Store, clock: FakeClock, metrics: Metrics, source: MemorySource) -> Make:
    """Makes a started stage over the store."""

    def made(**options: Any) -> Ingest:
        given: dict[str, Any] = {"source": source, "splits": Splits(), **options}
        stage = Ingest(decoders=Decoders(), store=store, metrics=metrics, clock=clock, **given)
        stage.start()
        return stage

    return made


def raw(event: object) -> bytes:
    return json.dumps(event).encode()


def rows(store: Store, table: str) -> int:
    count = store.read(lambda c: c.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608
    return int(count)


def drain(stage: Ingest) -> int:
    done = 0
    while step := stage.step(0.0):
        done += step
    return done


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_a_batch_is_stored_whole(store: Store, source: MemorySource, make: Make, metrics: Metrics) -> None:
    """Traces with their logged candidates, dead letters, position, metrics: all of one batch."""
    for value in (raw(native(1, adapter="ada")), b"{nope", raw(openai(2)), None):
        source.append(value)
    stage = make()
    assert stage.step(0.1) == 4
    assert stage.totals == Counts(records=4, stored=2, dead_letters=2)
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
    assert [(row[0], row[1], bytes(row[2])) for row in dead] == [(1, 0, b"{nope"), (3, 0, b"")]
    assert "not JSON" in dead[0][3]
    assert sample(metrics.registry, "rlaifd_records_total", source="memory", outcome="stored") == 2
    assert sample(metrics.registry, "rlaifd_records_total", source="memory", outcome="dead_letter") == 2
    assert (
        sample(metrics.registry, "rlaifd_data_newest_event_timestamp_seconds", source="memory")
        == 1_700_000_002
    )
    lag = {"source": "memory", "topic": "t", "partition": "0"}
    assert sample(metrics.registry, "rlaifd_consumer_lag_records", **lag) == 0


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
        patched.setattr("daemon.stages.isolation.store_batch", lost)
        for _ in range(2):
            with pytest.raises(StoreBusyError):
                stage.step(0.1)
    assert rows(store, "trace") == 0
    assert drain(stage) == 10
    assert stage.totals == Counts(records=10, stored=10)


def test_one_bad_row_is_found_and_put_aside(
    store: Store, source: MemorySource, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that the database refuses becomes a dead letter with the reason; the other 499 are stored."""
    whole = traces._trace_row

    def row(trace: Trace, *rest: Any) -> dict[str, Any]:
        made = whole(trace, *rest)
        return made | {"ts": None} if trace.id in {"e-250", "e-900"} else made

    monkeypatch.setattr(traces, "_trace_row", row)
    for number in range(499):
        source.append(raw(native(number)))
    source.append(raw([native(899), native(900), native(901)]))
    stage = make()
    assert drain(stage) == 500
    assert stage.totals == Counts(records=500, stored=500, dead_letters=2)
    dead = store.read(
        lambda c: c.execute(
            text('SELECT "offset", "index", reason, body FROM dead_letter ORDER BY "offset"')
        ).all()
    )
    assert [(row[0], row[1]) for row in dead] == [(250, 0), (499, 1)]
    assert all("the store refused it" in row[2] and "null" in row[2].lower() for row in dead)
    assert b'"e-900"' in bytes(dead[1][3])


@pytest.mark.postgres
def test_a_row_beyond_a_limit_of_the_database_is_put_aside(postgres_store: Store) -> None:
    """PostgreSQL calls an index entry that is too long an operational error; it is the row's all the same."""
    (good,) = Decoders().decode(raw(native(1)), source="s", timestamp=None)
    assert isinstance(good, Trace)
    rng = random.Random(0)
    bad = good.model_copy(
        update={"id": "e-2", "subject": "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(9000))}
    )
    arrivals = [Arrival(T, number, number + 1, b"", (each,)) for number, each in enumerate((good, bad))]
    counts = store_isolated(postgres_store, source="s", arrivals=arrivals, splits=Splits(), now=1.0)
    assert counts == Counts(records=2, stored=1, dead_letters=1)


def test_large_records_are_dead_letters_with_head_and_digest(
    store: Store, source: MemorySource, make: Make
) -> None:
    """A value beyond the bound is stored as its head, with size and digest in the reason."""
    value = b"[" + b" " * MAX_BODY + b"]"
    source.append(value)
    make().step(0.1)
    body, reason = store.read(lambda c: c.execute(text("SELECT body, reason FROM dead_letter")).one())
    assert bytes(body) == value[: 64 << 10]
    assert hashlib.sha256(value).hexdigest() in reason


def test_mass_failure_stops_before_the_dead_letters_fill(
    store: Store, source: MemorySource, make: Make
) -> None:
    """Fifty undecodable records in a row stop ingest with one clear line; what came before is stored."""
    for number in range(20):
        source.append(raw(native(number)))
    for _ in range(400):
        source.append(b'{"wrong": "format"}')
    stage = make()
    with pytest.raises(FatalError) as caught:
        drain(stage)
    line = str(caught.value)
    assert "source memory: 50 records in a row cannot be decoded" in line
    assert "keys: wrong" in line
    assert "rlaifd decode" in line
    assert "\n" not in line
    assert stage.totals == Counts(records=20, stored=20)
    with pytest.raises(FatalError):
        stage.step(0.0)
    assert rows(store, "dead_letter") == 0
    assert store.read(lambda c: positions(c, "memory", [T])) == {T: 20}


def test_mass_failure_by_share(store: Store, source: MemorySource, make: Make) -> None:
    """More than the allowed share of the last thousand stops ingest too, though never many in a row."""
    for number in range(2000):
        source.append(b"{}" if number % 10 == 9 else raw(native(number)))
    stage = make(dead_letter_ratio=0.05)
    with pytest.raises(FatalError, match="51 of the last 510 records"):
        drain(stage)
    assert rows(store, "dead_letter") <= 50
    assert rows(store, "trace") >= 449


def test_few_bad_records_do_not_stop_it(store: Store, source: MemorySource, make: Make) -> None:
    """Below the share it goes on for ever."""
    for number in range(3000):
        source.append(b"{}" if number % 25 == 0 else raw(native(number)))
    stage = make(dead_letter_ratio=0.05)
    assert drain(stage) == 3000
    assert stage.totals == Counts(records=3000, stored=2880, dead_letters=120)
    assert IN_A_ROW == 50


def test_errors_of_the_source_pass_through(source: MemorySource, make: Make) -> None:
    """A transient error is raised and the next step goes on."""
    stage = make()
    source.fail(TransientError("the broker is away"))
    with pytest.raises(TransientError, match="away"):
        stage.step(0.1)
    source.append(raw(native(1)))
    assert stage.step(0.1) == 1
    stage.close()


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


def test_a_file_is_ingested_once(store: Store, clock: FakeClock, metrics: Metrics, tmp_path: Path) -> None:
    """A whole file goes in, its last line without a newline too; a second time adds nothing."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join([raw(native(1)), b"", b"{bad", raw(openai(2))]))
    given: dict[str, Any] = {
        "decoders": Decoders(), "store": store, "metrics": metrics, "clock": clock, "splits": Splits(),
    }  # fmt: skip
    assert ingest_file(file, **given) == Counts(records=3, stored=2, dead_letters=1)
    assert ingest_file(file, **given) == Counts()
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(file.read_bytes())
    assert ingest_file(copy, **given) == Counts(records=3, duplicates=2, dead_letters=1)
    assert rows(store, "trace") == 2
    with pytest.raises(FatalError, match="no such file"):
        ingest_file(tmp_path / "absent", **given)


def test_explain_tells_what_a_file_holds(tmp_path: Path) -> None:
    """Each event with its line, decoder and trace, or the reason; nothing is stored."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(raw([native(1), 5]) + b"\n{bad\n" + raw(openai(2)) + b"\n")
    found = list(explain(file, Decoders()))
    assert [(each.line, each.index, each.decoder) for each in found] == [
        (1, 0, "native"), (1, 1, None), (2, 0, None), (3, 0, "openai_chat"),
    ]  # fmt: skip
    assert found[0].trace is not None
    assert found[0].trace.id == "e-1"
    assert found[1].reason == "an event must be an object, not int"
    assert "not JSON" in (found[2].reason or "")


def test_explain_counts_lines_as_an_editor_does(tmp_path: Path) -> None:
    """Blank lines are no records, and lines all the same."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n\n" + raw(native(1)) + b"\n \n\r\n{bad\n")
    assert [each.line for each in explain(file, Decoders())] == [3, 6]


def test_a_compressed_file_is_refused_whole(tmp_path: Path, store: Store) -> None:
    """Its lines would all be dead letters; nothing is stored."""
    file = tmp_path / "events.jsonl.gz"
    file.write_bytes(gzip.compress(raw(native(1)) + b"\n"))
    with pytest.raises(FatalError, match="compressed"):
        list(explain(file, Decoders()))
    with pytest.raises(FatalError, match="compressed"):
        ingest_file(
            file, decoders=Decoders(), store=store, metrics=Metrics(), clock=FakeClock(), splits=Splits()
        )
    assert store.read(lambda c: c.scalar(text("SELECT count(*) FROM dead_letter"))) == 0


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
