"""Why training waits is read from the store, and what is frozen is what was found to be enough."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from daemon.cli.operate import _status_text
from daemon.clock import FakeClock
from daemon.errors import RefusedError
from daemon.stages.train.freeze import FrozenSnapshot
from daemon.stages.train.schedule import Due, Waits
from daemon.store.tables import RolloutRow, RunRow, SnapshotRow, TraceRow
from daemon.wiring import by_hand
from daemon.wiring.parts import Wiring
from policies.records import Scope
from policies.selection import Reason
from policies.states import HaltSource
from tests.daemon.preferring import freeze, prefer
from tests.daemon.stages.seeding import count, put, rows, table
from tests.daemon.stages.train.occasions import ASKED, COOLING, NAMES, a_run, rejected, wired


@pytest.fixture
def parts(tmp_path: Path, clock: FakeClock) -> Iterator[Wiring]:
    with wired(tmp_path, COOLING, clock) as parts:
        yield parts


def test_a_run_is_due_when_enough_is_there(parts: Wiring) -> None:
    """Before, the status says what is missing, for scripts and for people."""
    prefer(parts.store, NAMES[:69])
    assert parts.occasion.due() == Due(
        yes=False, reason="69 new preferences of 70", waits=Waits.NEW_PREFERENCES
    )
    state = parts.status()
    assert state["training"] == {
        "due": False,
        "waits_for": "new_preferences",
        "reason": "69 new preferences of 70",
    }
    assert json.loads(json.dumps(state))["snapshot"] is None
    assert "training     waits: 69 new preferences of 70" in _status_text(state)
    prefer(parts.store, NAMES[69:])
    assert parts.occasion.due().yes
    assert "training     is due: 70 new preferences" in _status_text(parts.status())
    assert parts.occasion.due(leads=False).waits is Waits.LEAD
    parts.latch.halt(Scope.TRAINING, reason="r", source=HaltSource.OPERATOR, actor="ann")
    assert parts.occasion.due().waits is Waits.HALT


def test_the_least_is_asked_of_what_the_snapshot_keeps(parts: Wiring) -> None:
    """Of 500 preferences of one contributor ten are kept: neither schedule nor person trains on them."""
    prefer(parts.store, [f"f{n}" for n in range(500)], contributor="subject:flood")
    said = (
        "a snapshot would hold 10 pairs of training.min_preferences (64); left out: 490 beyond what one "
        "contributor may give"
    )
    assert parts.occasion.due() == Due(yes=False, reason=said, waits=Waits.PREFERENCES)
    with pytest.raises(RefusedError, match="would hold 10 pairs"):
        by_hand.train(parts, snapshot=None, actor="ann")
    assert (count(parts.store, SnapshotRow), count(parts.store, RunRow)) == (0, 0)


def test_what_is_frozen_says_what_it_leaves_out(parts: Wiring) -> None:
    """In its row, in the status, and in words."""
    prefer(parts.store, NAMES)
    prefer(parts.store, [f"f{n}" for n in range(12)], contributor="subject:flood")
    frozen = parts.occasion.freeze()
    assert isinstance(frozen, FrozenSnapshot)
    assert (frozen.pairs, frozen.left_out) == (72, {Reason.CONTRIBUTOR: 10})
    (row,) = rows(parts.store, SnapshotRow)
    assert row.left_out == {"contributor": 10}
    state = parts.status()
    assert (state["snapshot"]["pairs"], state["snapshot"]["left_out"]) == (72, {"contributor": 10})
    assert "72 pairs; left out: 10 beyond what one contributor may give" in _status_text(state)
    parts.watch.step()
    value = parts.metrics.registry.get_sample_value
    assert value("rlaifd_snapshot_pairs") == 72
    assert value("rlaifd_snapshot_left_out_pairs", {"reason": "contributor"}) == 10
    assert value("rlaifd_snapshot_left_out_pairs", {"reason": "stale"}) == 0


def test_what_is_frozen_is_what_is_there_then(parts: Wiring) -> None:
    """A prompt that left the train split since the last look does not go in."""
    prefer(parts.store, NAMES)
    assert parts.occasion.material().kept == 70
    traces = table(TraceRow)
    moved = update(traces).where(traces.c.event_id == NAMES[0]).values(split="gate")
    parts.store.write(lambda c: c.execute(moved))
    frozen = parts.occasion.freeze()
    assert isinstance(frozen, FrozenSnapshot)
    assert frozen.pairs == 69


def changed(parts: Wiring, at: float) -> None:
    put(parts.store, RolloutRow, epoch=1, stable=None, actor="a", reason="r", created_at=at)


def judged(parts: Wiring, at: float) -> None:
    rejected(parts, "support-1", at=at)


def failed(parts: Wiring, at: float) -> None:
    freeze(parts.store, "s", [])
    a_run(parts, "r", "s", state="failed", started_at=at - 9000, finished_at=at)


@pytest.mark.parametrize(
    ("happens", "what"),
    [
        (changed, "the adapter in force changed"),
        (judged, "the gate rejected an adapter"),
        (failed, "a run failed"),
    ],
)
def test_a_cool_down_keeps_a_run_from_starting(
    parts: Wiring, clock: FakeClock, happens: Callable[[Wiring, float], None], what: str
) -> None:
    """By itself, and only so long; a person may start one."""
    prefer(parts.store, NAMES, at=clock.now())
    happens(parts, clock.now() - 500)
    found = parts.occasion.due()
    assert (found.waits, found.reason) == (
        Waits.COOLDOWN,
        f"{what} less than training.cooldown_s (600) ago: 100 s are left",
    )
    assert isinstance(parts.occasion.freeze(), FrozenSnapshot)
    clock.advance(100)
    assert parts.occasion.due().yes


def test_a_rejected_recipe_waits_for_other_data(parts: Wiring, clock: FakeClock) -> None:
    """The same recipe from the same start; one pair more, or another recipe, is another training."""
    ids = prefer(parts.store, NAMES, at=clock.now())
    freeze(parts.store, "same", ids)
    plan = {"plan": {"asked": ASKED, "recipe": {}}}
    started = clock.now() - 9000
    a_run(parts, "run-1", "same", adapter="support-1", result=plan, started_at=started)
    assert parts.occasion.due().yes
    rejected(parts, "support-1", at=started)
    said = "the gate rejected support-1, which run run-1 made of these pairs"
    found = parts.occasion.due()
    assert (found.waits, found.reason) == (
        Waits.OTHER_DATA,
        f"{said}: the same recipe waits for other data",
    )
    with pytest.raises(RefusedError, match=said):
        by_hand.train(parts, snapshot=None, actor="ann")
    assert parts.status()["training"]["reason"].startswith(said)
    put(parts.store, RolloutRow, epoch=1, stable="support-0", actor="a", reason="r", created_at=started)
    assert parts.occasion.due().yes
    put(parts.store, RolloutRow, epoch=2, stable=None, actor="a", reason="r", created_at=started)
    assert not parts.occasion.due().yes
    prefer(parts.store, ["another"], at=clock.now())
    assert parts.occasion.due().yes


@pytest.mark.parametrize(
    ("columns", "waits"),
    [
        ({"state": "unchanged"}, Waits.OTHER_DATA),
        ({"state": "unchanged", "recipe": {**ASKED, "beta": 0.2}}, Waits.NOTHING),
        ({"state": "unchanged", "parent": "support-0"}, Waits.NOTHING),
        ({"state": "halted"}, Waits.NOTHING),
        ({"state": "done", "adapter": "support-1"}, Waits.NOTHING),
    ],
)
def test_what_counts_as_rejected(
    parts: Wiring, clock: FakeClock, columns: dict[str, Any], waits: Waits
) -> None:
    """A run that changed nothing does, one of another recipe or start does not; nor one that nobody judged,
    nor one that a guard halted, after which a person lets training go on.
    """
    ids = prefer(parts.store, NAMES, at=clock.now())
    freeze(parts.store, "same", ids)
    run = {"recipe": ASKED, "started_at": clock.now() - 9000, **columns}
    a_run(parts, "run-1", "same", **run)
    assert parts.occasion.due().waits is waits
