"""The reconciler makes the target serve what is in force, and tells what keeps it from that."""

from daemon.store import rollouts
from tests.daemon.stages.rollout.world import WHO, A, B, C, World, kinds


def test_a_target_that_forgot_is_told_again(small: World) -> None:
    """After a server's restart the next look makes it serve what is in force."""
    rollout = small.promoted(A)
    small.memory.restart()
    assert kinds(small.rollout().status().conditions) == ["unserved"]
    assert rollout.reconcile().in_sync
    assert small.memory.served().adapter == A


def test_an_unreachable_target_is_a_condition(small: World) -> None:
    """The decision stands, in_sync says no, and the reconciler goes on when the target is back."""
    small.publish(A)
    rollout = small.rollout()
    small.memory.unreachable = True
    found = rollout.promote(A, **WHO)
    assert (found.in_sync, found.stable, kinds(found.conditions)) == (False, A, ["unserved"])
    assert small.value("rollout_in_sync") == 0
    small.memory.unreachable = False
    assert rollout.reconcile().in_sync
    assert small.memory.served().adapter == A


def test_a_damaged_adapter_in_force_is_reported_and_never_served_anew(small: World) -> None:
    """It stays where it serves; a target that lost it is not given damaged files."""
    rollout = small.promoted(A)
    small.damage(A)
    found = rollout.reconcile()
    assert (found.in_sync, found.stable, kinds(found.conditions)) == (False, A, ["corrupted"])
    small.memory.restart()
    rollout.reconcile()
    assert small.memory.served().adapter is None


def test_damage_that_keeps_size_and_times_is_found_in_time(small: World) -> None:
    """Files are hashed again now and then, whatever their times say."""
    small.publish(A)
    hashed: list[str] = []
    rollout = small.rollout()
    rollout._admission._verify = lambda _, name: hashed.append(name)
    rollout.promote(A, **WHO)
    for _ in range(5):
        rollout.reconcile()
    assert hashed == [A]
    small.clock.advance(301)
    rollout.reconcile()
    assert hashed == [A, A]


def test_an_adapter_in_force_that_is_quarantined_gives_way(small: World) -> None:
    """Whoever quarantines it, the next look falls back to the newest adapter that may serve."""
    rollout = small.promoted(A, B)
    small.store.write(lambda c: rollouts.quarantine(c, B, reason="its snapshot was poisoned", at=2.0))
    found = rollout.reconcile()
    assert (found.in_sync, found.stable, found.epoch) == (True, A, 3)
    small.edit(C)  # and a refused wish does not keep it in force either
    small.store.write(lambda c: rollouts.quarantine(c, A, reason="poisoned too", at=3.0))
    found = rollout.reconcile()
    assert (found.stable, kinds(found.conditions)) == (None, ["refused"])
