"""Offsets that a source lost before they were read stop it, until a person accepts the gap."""

import pytest

from connectors.base import Partition, Record
from connectors.losses import Loss, OffsetsLostError
from connectors.memory import MemorySource
from daemon.errors import SourceStoppedError
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.ingest import Ingest
from daemon.store import ledger, losses, stops
from daemon.store.store import Store
from daemon.store.traces import positions
from tests.connectors.decoders.events import native
from tests.daemon.stages.ingest.intake import Make, T, drain, raw, rows
from tests.daemon.stages.ingest.test_stops import WRONG, gauge

U = Partition("t", 1)


def lost(source: MemorySource, *found: Loss) -> None:
    source.fail(OffsetsLostError("kafka b:1", found))


def accept(store: Store) -> bool:
    return store.write(lambda c: losses.accept(c, "memory", actor="ann", now=5.0))


@pytest.fixture
def stage(make: Make, source: MemorySource) -> Ingest:
    """A stage that has read three records of one partition and five of another."""
    for number in range(8):
        source.append(raw(native(number)), partition=int(number > 2))
    made = make()
    assert drain(made) == 8
    return made


def stopped(stage: Ingest) -> str:
    with pytest.raises(SourceStoppedError) as caught:
        stage.step(0.0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_loss_stops_the_source(stage: Ingest, source: MemorySource, store: Store, metrics: Metrics) -> None:
    """One line: what is gone and which command accepts it; nothing moves, also after a restart."""
    lost(source, Loss(T, 3, 7), Loss(U, 5, 6))
    line = stopped(stage)
    assert "source memory: kafka b:1: offsets were removed before they were read" in line
    assert "4 of t-0 (3 to 6), 1 of t-1 (5 to 5)" in line
    assert "rlaifd ingest --accept memory" in line
    assert store.read(losses.standing) == {"memory": line}
    assert gauge(metrics, "source_stopped") == 1
    assert store.read(lambda c: positions(c, "memory", [T, U])) == {T: 3, U: 5}
    assert gauge(metrics, "records_lost_total") in (None, 0)


@pytest.mark.parametrize("more", [0, 40])
def test_an_accepted_gap_is_passed_over(
    stage: Ingest, source: MemorySource, store: Store, metrics: Metrics, more: int
) -> None:
    """As wide as it has become, in the ledger and counted; a second loss needs another word."""
    assert not accept(store)
    lost(source, Loss(T, 3, 7))
    stopped(stage)
    assert accept(store)
    lost(source, Loss(T, 3, 7 + more))
    assert stage.step(0.0) == 0
    assert store.read(lambda c: positions(c, "memory", [T, U])) == {T: 7 + more, U: 5}
    assert store.read(losses.standing) == {}
    assert gauge(metrics, "records_lost_total") == 4 + more
    entry = store.read(lambda c: c.execute(ledger.LEDGER.select()).one())
    assert (entry.actor, entry.action, entry.subject) == ("ann", "accept", "losses:memory")
    assert entry.detail == {"losses": [["t", 0, 3, 7]]}
    lost(source, Loss(T, 3, 7 + more))  # it has not looked at the store again yet
    assert stage.step(0.0) == 0
    assert stage.step(0.0) == 0
    assert gauge(metrics, "source_stopped") == 0
    lost(source, Loss(T, 7 + more, 99))
    assert f"({7 + more} to 98)" in stopped(stage)


def test_another_process_passes_over_what_was_accepted(
    stage: Ingest, source: MemorySource, store: Store, make: Make
) -> None:
    """The word is in the store, as the loss is."""
    lost(source, Loss(T, 3, 7))
    stopped(stage)
    assert accept(store)
    assert accept(store)
    again = MemorySource()
    lost(again, Loss(T, 3, 7))
    assert make(source=again).step(0.0) == 0
    assert store.read(lambda c: positions(c, "memory", [T])) == {T: 7}


def test_a_loss_and_a_run_that_nobody_knows_are_told_apart(
    stage: Ingest, source: MemorySource, store: Store
) -> None:
    """Each stands by itself, and a record that is known ends only the other."""
    lost(source, Loss(T, 3, 7))
    stopped(stage)
    assert store.read(stops.standing) == []
    for _ in range(60):
        source.append(WRONG, partition=1)
    with pytest.raises(SourceStoppedError, match="in no format"):
        drain(stage)
    assert store.write(lambda c: stops.accept(c, "memory", actor="ann", now=5.0))
    source.append(raw(native(9)), partition=1)
    drain(stage)
    assert rows(store, "dead_letter") == 60
    assert store.read(stops.standing) == []
    assert list(store.read(losses.standing)) == ["memory"]


def test_what_is_read(stage: Ingest, metrics: Metrics) -> None:
    """Two partitions, looked into a moment ago."""
    assert gauge(metrics, "source_partitions") == 2
    at = gauge(metrics, "source_read_timestamp_seconds")
    assert at is not None
    assert at > 1_700_000_000


def test_a_loss_beyond_a_full_batch_waits_until_that_is_counted(
    source: MemorySource, make: Make, monkeypatch: pytest.MonkeyPatch, metrics: Metrics
) -> None:
    """The next batch is looked for while one is written; what is lost there is said a step later."""
    for number in range(2):
        source.append(raw(native(number)))
    given = source.receive

    def receive(timeout_s: float, limit: int = 500) -> list[Record]:
        found = list(given(timeout_s, limit))
        if not found:
            raise OffsetsLostError("kafka b:1", (Loss(T, 2, 7),))
        return found

    monkeypatch.setattr(source, "receive", receive)
    stage = make(batch_records=2)
    assert stage.step(0.0) == 2
    assert stage.totals.stored == gauge(metrics, "records_total", outcome="stored") == 2
    assert "5 of t-0 (2 to 6)" in stopped(stage)
    assert stage.totals.records == 2
