"""A rollback goes back to an adapter that may serve and keeps the other out, whatever else is wrong."""

import pytest
from sqlalchemy import select

from daemon.errors import AdapterRefusedError, HaltedError, RefusedError
from daemon.stages.rollout.rollout import BASE
from daemon.store import ledger, rollouts
from policies.records import Scope
from policies.states import HaltSource
from tests.daemon.stages.rollout.world import WHO, A, B, C, World, kinds, wished


def test_rollback_goes_to_the_adapter_before(world: World) -> None:
    """It re-points, quarantines what it goes back from and halts promotion; git cannot undo it."""
    rollout = world.promoted(A, B)
    found = rollout.rollback(actor="ann", reason="customers complain")
    assert (found.in_sync, found.stable, found.epoch) == (True, A, 3)
    assert wished(world) == A
    assert [(halt.scope, halt.source) for halt in world.latch.active()] == [(Scope.PROMOTION, "rollback")]
    world.edit(B)
    found = rollout.reconcile()
    assert found.stable == A
    assert kinds(found.conditions) == ["quarantined"]
    world.latch.resume(Scope.PROMOTION, actor="ann", reason="fixed")
    with pytest.raises(AdapterRefusedError, match="quarantined: customers complain"):
        rollout.promote(B, **WHO)
    assert world.store.read(ledger.verify).broken_at is None


def test_rollbacks_walk_back_to_the_base_model(small: World) -> None:
    """Each goes one adapter further back, past those in quarantine, and the last has nowhere to go."""
    rollout = small.promoted(A, B)
    assert rollout.rollback(**WHO).stable == A
    assert rollout.rollback(**WHO).stable is None
    with pytest.raises(RefusedError, match="nothing to go back from") as caught:
        rollout.rollback(**WHO)
    assert caught.value.exit_code == 3


def test_rollback_works_during_a_halt_and_without_a_readable_file(small: World) -> None:
    """Neither a halt nor a file that is gone or cannot be written keeps it from happening."""
    rollout = small.promoted(A)
    small.latch.halt(Scope.PROMOTION, reason="x", source=HaltSource.OPERATOR, actor="bob")
    small.file.unlink()
    small.file.mkdir()  # nothing can be written there
    found = rollout.rollback(**WHO)
    assert (found.in_sync, found.stable) == (True, None)
    assert kinds(found.conditions) == ["file_invalid"]
    small.file.rmdir()
    small.edit(A)
    assert small.rollout().reconcile().stable is None


def test_rollback_skips_a_damaged_adapter(small: World) -> None:
    """It never re-points to files that are not what was published."""
    rollout = small.promoted(A, B)
    small.damage(A)
    assert rollout.rollback(**WHO).stable is None


def test_rollback_to_a_named_adapter(small: World) -> None:
    """Only to one that was in force, is not in quarantine, and verifies; or to the base model."""
    for name, against in ((A, None), (B, A), (C, B)):
        small.publish(name, against=against)
    rollout = small.rollout()
    for name in (A, B):
        rollout.promote(name, **WHO)
    with pytest.raises(AdapterRefusedError, match="never in force"):
        rollout.rollback(**WHO, to=C)
    with pytest.raises(RefusedError, match="is in force"):
        rollout.rollback(**WHO, to=B)
    rollout.promote(C, **WHO)
    assert rollout.rollback(**WHO, to=A).stable == A
    with pytest.raises(AdapterRefusedError, match="quarantined"):
        rollout.rollback(**WHO, to=C)
    assert rollout.rollback(**WHO, to=BASE).stable is None
    assert rollout.rollback(**WHO, to=B).stable == B


def test_a_quarantine_can_be_taken_back(world: World) -> None:
    """In the ledger, with its reason. Nothing comes into force by it, and the gate's decision counts on."""
    rollout = world.promoted(A, B)
    rollout.rollback(**WHO)
    world.publish(C, "reject", against=A)
    rollout.readmit(B, actor="ann", reason="one reviewer's labels were wrong")
    assert rollout.reconcile().stable == A
    last = select(ledger.LEDGER).order_by(ledger.LEDGER.c.seq.desc()).limit(1)
    entry = world.store.read(lambda c: c.execute(last).one())
    assert (entry.action, entry.subject, entry.detail) == ("readmit", B, {"quarantine": WHO["reason"]})
    with pytest.raises(HaltedError):
        rollout.promote(B, **WHO)
    world.latch.resume(Scope.PROMOTION, actor="ann", reason="a false alarm")
    assert rollout.promote(B, **WHO).stable == B
    world.store.write(lambda c: rollouts.quarantine(c, C, reason="x", at=1.0))
    rollout.readmit(C, actor="ann", reason="to see")
    with pytest.raises(AdapterRefusedError, match="rejected by the gate"):
        rollout.promote(C, **WHO)


@pytest.mark.parametrize(("name", "said"), [(A, "is not quarantined"), (C, "is unknown")])
def test_only_a_quarantine_is_taken_back(small: World, name: str, said: str) -> None:
    """And nothing is written of the attempt."""
    rollout = small.promoted(A)
    before = small.store.read(ledger.head)
    with pytest.raises(AdapterRefusedError, match=said):
        rollout.readmit(name, actor="ann", reason="why")
    assert small.store.read(ledger.head) == before
