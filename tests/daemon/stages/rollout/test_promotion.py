"""A promotion brings an adapter that passed the gate into force, everywhere or nowhere."""

from pathlib import Path

import pytest

from connectors.serving.directory import DirectoryTarget
from daemon.errors import HaltedError, RlaifdError
from daemon.store import ledger
from daemon.store.store import Store
from policies.records import Scope
from policies.rollout import Assignment
from policies.states import HaltSource
from tests.daemon.stages.rollout.world import WHO, A, World, wished


def test_before_any_change_the_base_model_is_in_force(world: World) -> None:
    """A fresh store and a fresh file agree on the base model at epoch 0."""
    found = world.rollout().reconcile()
    assert (found.in_sync, found.stable, found.epoch, found.conditions) == (True, None, 0, ())


def test_a_passed_adapter_is_promoted(world: World) -> None:
    """File, store, target, ledger and gauges all name it, with the actor and the reason."""
    world.publish(A)
    rollout = world.rollout()
    rollout.reconcile()
    found = rollout.promote(A, **WHO)
    assert (found.in_sync, found.conditions) == (True, ())
    assert rollout.in_force() == Assignment(A, 1)
    assert wished(world) == A
    assert world.memory.serves[-1] == (Assignment(A, 1), {A: world.adapters / A})
    change = rollout.changes()[0]
    assert (change.actor, change.reason, change.previous) == ("ann", "it is better", None)
    assert world.store.read(ledger.verify).entries == 1
    assert world.value("rollout_epoch") == 1
    assert world.value("rollout_in_sync") == 1
    assert world.value("adapter_info", slot="stable", adapter=A) == 1
    assert world.value("adapter_info", slot="stable", adapter="base") is None
    assert world.value("rollouts_total", kind="promote") == 1


def test_promoting_what_is_in_force_changes_nothing(small: World) -> None:
    """A repeated command is done already."""
    small.publish(A)
    small.rollout().promote(A, **WHO)
    assert small.rollout().promote(A, **WHO).epoch == 1


def test_a_halt_between_check_and_change_wins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction that changes the state checks again; the file is put back as it was."""
    world.publish(A)
    rollout = world.rollout()
    before = world.file.read_bytes()
    intact = rollout._admission.intact

    def halt_meanwhile(adapter: str) -> object:
        world.latch.halt(
            Scope.PROMOTION, reason="just now", source=HaltSource.ALERT, actor="am", fingerprint="f"
        )
        return intact(adapter)

    monkeypatch.setattr(rollout._admission, "intact", halt_meanwhile)
    with pytest.raises(HaltedError, match="just now"):
        rollout.promote(A, **WHO)
    assert world.file.read_bytes() == before
    assert rollout.in_force() == Assignment(None, 0)


def test_an_unwritable_file_refuses_the_promotion(small: World) -> None:
    """What cannot be written down as wanted is not brought into force."""
    small.publish(A)
    small.file.unlink()
    small.file.mkdir()
    with pytest.raises(RlaifdError, match="cannot be written"):
        small.rollout().promote(A, **WHO)
    assert small.rollout().in_force() == Assignment(None, 0)


def test_on_the_directory_target(sqlite_store: Store, tmp_path: Path) -> None:
    """Promotion and rollback move the links that a server follows."""
    serving = tmp_path / "serving"
    world = World(sqlite_store, tmp_path, DirectoryTarget(serving))
    world.publish(A)
    rollout = world.rollout()
    assert rollout.promote(A, **WHO).in_sync
    assert (serving / "current").resolve() == (world.adapters / A).resolve()
    (serving / "current").unlink()
    assert rollout.reconcile().in_sync
    assert (serving / "current").resolve() == (world.adapters / A).resolve()
    assert rollout.rollback(**WHO).in_sync
    assert not (serving / "current").exists()
