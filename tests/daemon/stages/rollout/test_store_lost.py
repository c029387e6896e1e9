"""Without its store the daemon still goes back to the base model, and a command says how."""

import pytest
from sqlalchemy import text

from daemon.stages.rollout.rollout import Rollout
from daemon.store.store import StoreError
from tests.daemon.stages.rollout.world import WHO, A, World, kinds


def lose_the_store(rollout: Rollout, world: World) -> None:
    world.store.write(lambda c: c.execute(text("ALTER TABLE adapter RENAME TO adapter_gone")))


def test_the_way_back_stays_open_without_the_store(small: World) -> None:
    """A running daemon obeys `stable: null` without its database, and goes on with it when it is back."""
    rollout = small.promoted(A)
    lose_the_store(rollout, small)
    found = rollout.reconcile()
    assert (found.in_sync, found.stable, kinds(found.conditions)) == (False, A, ["store_lost"])
    assert small.memory.served().adapter == A
    small.edit(None)
    assert rollout.reconcile().stable is None
    assert small.memory.served().adapter is None
    small.store.write(lambda c: c.execute(text("ALTER TABLE adapter_gone RENAME TO adapter")))
    found = rollout.reconcile()
    assert (found.in_sync, found.stable, found.epoch) == (True, None, 2)


def test_a_command_without_the_store_says_what_to_do(small: World) -> None:
    """One line, exit 1, with the way back to the base model."""
    rollout = small.promoted(A)
    small.store.write(lambda c: c.execute(text("ALTER TABLE rollout RENAME TO rollout_gone")))
    with pytest.raises(StoreError, match="`stable: null` in") as caught:
        rollout.rollback(**WHO)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
