"""The file is the wish: an edit is carried out, a damaged file changes nothing."""

import pytest

from daemon.stages.rollout.file import RolloutFile
from daemon.store import ledger
from policies.records import Scope
from policies.states import HaltSource
from tests.daemon.stages.rollout.world import WHO, A, B, World, kinds


def test_an_edit_of_the_file_is_a_promotion(world: World) -> None:
    """The daemon adopts what a person wrote, after the same checks, with an epoch of its own."""
    world.publish(A)
    world.edit(A)
    found = world.rollout().reconcile()
    assert (found.in_sync, found.stable, found.epoch) == (True, A, 1)
    assert world.rollout().changes()[0].actor == "rollout.yaml"
    assert world.store.read(ledger.verify).entries == 1


def test_an_edit_back_is_a_rollback_by_config(world: World) -> None:
    """An adapter that was in force before, or the base model, needs no new comparison to come back."""
    world.publish(A)
    world.publish(B, against=A)
    rollout = world.rollout()
    rollout.reconcile()
    rollout.promote(A, **WHO)
    rollout.promote(B, **WHO)
    world.edit(A)
    assert rollout.reconcile().stable == A
    world.edit(None)
    assert rollout.reconcile().stable is None
    assert world.value("rollouts_total", kind="promote") == 2
    assert world.value("rollouts_total", kind="rollback") == 2


def test_the_way_back_to_the_base_model_is_open_during_a_halt(small: World) -> None:
    """`stable: null` needs no gate and no resume."""
    small.publish(A)
    small.rollout().promote(A, **WHO)
    small.latch.halt(Scope.PROMOTION, reason="x", source=HaltSource.OPERATOR, actor="bob")
    small.edit(None)
    assert small.rollout().reconcile().stable is None


def test_a_wish_waits_for_the_resume(small: World) -> None:
    """The reconciler looks at levels: what a halt refused comes into force when the halt is gone."""
    small.publish(A)
    small.latch.halt(Scope.PROMOTION, reason="x", source=HaltSource.OPERATOR, actor="bob")
    small.edit(A)
    rollout = small.rollout()
    assert kinds(rollout.reconcile().conditions) == ["refused"]
    small.latch.resume(Scope.PROMOTION, actor="bob", reason="fine")
    assert rollout.reconcile().stable == A


def test_a_command_that_was_killed_after_writing_the_file_is_carried_on(small: World) -> None:
    """The file is the wish: whoever looks next brings it into force after the checks."""
    small.publish(A)
    rollout = small.rollout()
    rollout._file.write(A)  # and then the power went
    assert small.rollout().reconcile().stable == A


@pytest.mark.parametrize("broken", ["missing", "cut", "wrong", "binary", "empty"])
def test_an_invalid_file_leaves_the_last_good_state(small: World, broken: str) -> None:
    """Missing, cut off or wrong: what is in force stays, and a condition says why."""
    rollout = small.promoted(A)
    whole = small.file.read_bytes()
    content = {"cut": whole[:-5], "wrong": b"spec: {stabel: x}\n...\n", "binary": b"\xff\xfe", "empty": b""}
    if broken == "missing":
        small.file.unlink()
    else:
        small.file.write_bytes(content[broken])
    found = rollout.reconcile()
    assert (found.in_sync, found.stable, found.epoch) == (True, A, 1)
    assert kinds(found.conditions) == ["file_invalid"]
    assert small.value("rollout_condition", condition="file_invalid") == 1
    small.file.write_bytes(whole)
    assert rollout.reconcile().conditions == ()
    assert small.value("rollout_condition", condition="file_invalid") == 0


def test_a_file_cut_at_any_byte_changes_nothing(small: World) -> None:
    """No cut of a file that names another adapter brings another adapter into force."""
    small.publish(A)
    small.publish(B, against=A)
    rollout = small.rollout()
    rollout.promote(A, **WHO)
    small.edit(B)
    whole = small.file.read_bytes()
    for length in range(len(whole) - 1):  # the last byte is the newline after the marker
        small.file.write_bytes(whole[:length])
        found = rollout.reconcile()
        assert (found.stable, kinds(found.conditions)) == (A, ["file_invalid"]), whole[:length]
    small.file.write_bytes(whole)
    assert rollout.reconcile().stable == B


def test_comments_and_mode_of_the_file_survive(small: World) -> None:
    """What people wrote above the first key, and who may read the file, stay."""
    small.publish(A)
    small.edit(None)
    small.file.chmod(0o640)
    small.rollout().promote(A, **WHO)
    assert small.file.read_text().startswith("# edited by hand\napiVersion")
    assert small.file.stat().st_mode & 0o777 == 0o640


def test_a_link_at_the_temporary_name_is_not_followed(world: World) -> None:
    """Whoever may write into the directory may not have the daemon write elsewhere."""
    victim = world.file.with_name("victim")
    victim.write_text("precious")
    world.file.with_name(f".{world.file.name}.00000000.new").symlink_to(victim)
    RolloutFile(world.file, lock=world.file.with_name("lock")).write("agent-aaaaaaaaaaaa")
    assert victim.read_text() == "precious"
    assert "stable: agent-aaaaaaaaaaaa" in world.file.read_text()
    assert not world.file.is_symlink()


def test_a_link_at_the_lock_is_not_emptied(world: World) -> None:
    """A lock is held on what is there; nothing is cut."""
    victim, lock = world.file.with_name("victim"), world.file.with_name("lock")
    victim.write_text("precious")
    lock.symlink_to(victim)
    with RolloutFile(world.file, lock=lock).locked():
        assert victim.read_text() == "precious"
