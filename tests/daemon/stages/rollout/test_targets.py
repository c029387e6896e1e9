"""Several targets follow one assignment, each by itself."""

from pathlib import Path

import pytest

from connectors.errors import FatalError, PoisonError, TransientError
from connectors.memory import MemoryTarget
from connectors.serving.directory import DirectoryTarget
from daemon.store.store import Store
from policies.rollout import Assignment
from tests.daemon.stages.rollout.world import WHO, A, World, kinds


def with_targets(world: World, *names: str) -> list[MemoryTarget]:
    """The world with memory targets of these names."""
    made = [MemoryTarget(name) for name in names]
    world.targets[:] = made
    return made


def test_every_target_is_brought_to_what_is_in_force(small: World) -> None:
    """Forward and back, with one epoch for all."""
    targets = with_targets(small, "eu", "us")
    small.publish(A)
    rollout = small.rollout()
    assert rollout.promote(A, **WHO).in_sync
    assert {target.served().assignment for target in targets} == {Assignment(A, 1)}
    rollout.rollback(**WHO)
    assert {target.served().assignment for target in targets} == {Assignment(None, 2)}
    assert [small.value("rollout_target_in_sync", target=name) for name in ("eu", "us")] == [1, 1]


@pytest.mark.parametrize(
    ("error", "kind"), [(TransientError, "unserved"), (FatalError, "fenced"), (PoisonError, "unserved")]
)
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_one_bad_target_stops_no_other(
    small: World, monkeypatch: pytest.MonkeyPatch, bad: int, error: type[Exception], kind: str
) -> None:
    """Whatever it raises, and wherever it stands; its condition names it, and it follows when it can."""
    targets = with_targets(small, "a", "b", "c")
    small.publish(A)

    def fail(*_: object) -> None:
        raise error("no")

    rollout = small.rollout()
    with monkeypatch.context() as broken:
        broken.setattr(targets[bad], "serve", fail)
        found = rollout.promote(A, **WHO)
        assert (found.in_sync, kinds(found.conditions)) == (False, [kind])
        assert str(found.conditions[0]) == f"{kind}: target {targets[bad].name}: no"
        assert kinds(rollout.status().conditions) == ["unserved"]
        assert [target.served().adapter for target in targets] == [
            None if at == bad else A for at in range(3)
        ]
        synced = [small.value("rollout_target_in_sync", target=target.name) for target in targets]
        assert synced == [at != bad for at in range(3)]
    assert rollout.reconcile().in_sync
    assert {target.served().adapter for target in targets} == {A}
    assert small.value("rollout_target_in_sync", target=targets[bad].name) == 1


def test_a_target_that_lost_it_is_told_again_and_the_others_are_not(small: World) -> None:
    """Each is asserted for itself."""
    first, second = with_targets(small, "a", "b")
    small.publish(A)
    rollout = small.rollout()
    rollout.promote(A, **WHO)
    second.restart()
    assert rollout.reconcile().in_sync
    assert [len(target.serves) for target in (first, second)] == [1, 2]


def test_the_way_back_without_the_store_is_open_on_every_target(small: World) -> None:
    """`stable: null` in the file, with one target that cannot be reached."""
    first, second = with_targets(small, "a", "b")
    small.publish(A)
    rollout = small.rollout()
    rollout.promote(A, **WHO)
    first.unreachable = True
    small.edit(None)
    small.store.close()
    found = rollout.reconcile()
    assert kinds(found.conditions) == ["store_lost", "unserved"]
    assert second.served().adapter is None


def test_two_directories(sqlite_store: Store, tmp_path: Path) -> None:
    """One cannot be written to: the other follows."""
    world = World(sqlite_store, tmp_path)
    good, bad = (DirectoryTarget(tmp_path / name, name=name) for name in ("good", "bad"))
    (tmp_path / "bad").write_text("a file is in the way")
    world.targets[:] = [bad, good]
    world.publish(A)
    found = world.rollout().promote(A, **WHO)
    assert [(each.kind, each.target) for each in found.conditions] == [("unserved", "bad")]
    assert (tmp_path / "good" / "current").resolve() == (world.adapters / A).resolve()
