"""Under pressure nothing is read and nothing is lost; what a sampled source sheds is counted."""

from pathlib import Path

import pytest

from connectors.memory import MemorySource
from daemon.clock import FakeClock
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.brake import LONGEST_WAIT_S, LOOKED_S, Brake, free_bytes
from daemon.store.store import Store
from daemon.store.tables import JudgementRow, TraceRow
from policies.feedback import FeedbackKind
from policies.pressure import MEGABYTE, PressureRule
from policies.records import Split
from policies.sampling import chosen
from tests.connectors.decoders.events import native
from tests.daemon.stages.ingest.intake import Make, T, drain, raw
from tests.daemon.stages.ingest.intake import rows as counted
from tests.daemon.stages.seeding import add_candidate, add_trace, put_many, rows


class Disk:
    """How much is free, as a test says, and how long it was waited for."""

    def __init__(self) -> None:
        self.free_mb, self.waited = 1000.0, 0.0

    def free(self) -> float:
        return self.free_mb * MEGABYTE

    def wait(self, seconds: float) -> None:
        self.waited += seconds


def brake(store: Store, clock: FakeClock, disk: Disk, **rule: float) -> Brake:
    return Brake(store=store, clock=clock, rule=PressureRule(**rule), free=disk.free, wait=disk.wait)


def test_at_the_floor_reading_pauses_and_nothing_is_lost(
    store: Store, clock: FakeClock, metrics: Metrics, source: MemorySource, make: Make
) -> None:
    """It goes on by itself once there is room, where it was."""
    disk = Disk()
    stage = make(brake=brake(store, clock, disk))

    def paused() -> float | None:
        return metrics.registry.get_sample_value(
            "rlaifd_ingest_paused", {"source": source.name, "reason": "disk"}
        )

    for number in range(3):
        source.append(raw(native(number)), timestamp=1.0)
    assert drain(stage) == 3
    for number in range(3, 8):
        source.append(raw(native(number)), timestamp=1.0)
    disk.free_mb = 511.0
    clock.advance(LOOKED_S)
    assert [stage.step(5.0) for _ in range(4)] == [0, 0, 0, 0]
    assert (paused(), counted(store, "trace")) == (1, 3)
    assert disk.waited == 4 * LONGEST_WAIT_S, "it waits in place of the source"
    assert source.lag()[T] == 5
    disk.free_mb = 600.0
    clock.advance(LOOKED_S)
    assert stage.step(0.0) == 0, "between the marks it stays paused"
    disk.free_mb = 800.0
    clock.advance(LOOKED_S)
    assert drain(stage) == 5
    assert (paused(), counted(store, "trace")) == (0, 8)
    assert sorted(row.event_id for row in rows(store, TraceRow)) == [f"e-{number}" for number in range(8)]


def test_a_backlog_pauses_reading_until_it_is_worked_off(
    store: Store, clock: FakeClock, source: MemorySource, make: Make
) -> None:
    """Judgements that wait or are claimed; what is done no longer counts."""
    trace_id = add_trace(store, "old", Split.TRAIN)
    candidate = add_candidate(store, trace_id, "said")
    common = {"role": "small", "kind": "score", "purpose": "traffic", "created_at": 0.0, "judge": "small"}
    of = {"trace_id": trace_id, "candidate_id": candidate}
    put_many(store, JudgementRow, [{**common, **of, "key": f"k{number}"} for number in range(3)])
    marks = {"open_judgements_high": 3, "open_judgements_low": 1}
    held = brake(store, clock, Disk(), **marks)
    stage = make(brake=held)
    source.append(raw(native(1)), timestamp=1.0)
    assert stage.step(0.0) == 0
    assert "3 judgements wait" in held.lines()[0]
    done = "UPDATE judgement SET state = 'done' WHERE key IN ('k0', 'k1')"
    store.write(lambda c: c.exec_driver_sql(done))
    clock.advance(LOOKED_S)
    assert stage.step(0.0) == 1


def test_the_disk_is_that_of_a_directory_that_may_not_be_there_yet(tmp_path: Path) -> None:
    """A first start makes it."""
    assert free_bytes(tmp_path / "not" / "yet") > 0


@pytest.mark.parametrize("keep", [0.5, 1.0])
def test_a_share_is_kept_and_says_so(
    store: Store, metrics: Metrics, source: MemorySource, make: Make, keep: float
) -> None:
    """By a hash of the event's id, so that every delivery and daemon decides alike; feedback is kept."""
    stage = make(keep=keep)
    for number in range(40):
        source.append(raw(native(number)), timestamp=1.0)
    source.append(raw({"about": "event", "target": "e-1", "kind": FeedbackKind.COPY}), timestamp=1.0)
    assert drain(stage) == 41
    found = {row.event_id: row.kept_with for row in rows(store, TraceRow)}
    wanted = {f"e-{number}" for number in range(40) if keep == 1 or chosen(f"e-{number}", "keep", keep)}
    assert found == dict.fromkeys(wanted, keep)
    assert (stage.totals.skipped, stage.totals.feedback) == (40 - len(wanted), 1)
    shed = {"source": source.name, "reason": "sampled_out"}
    assert metrics.registry.get_sample_value("rlaifd_records_skipped_total", shed) in {40 - len(wanted), None}
    assert 10 <= len(wanted) <= 40
