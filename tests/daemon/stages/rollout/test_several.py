"""Several daemons on one database: one leads, and nobody undoes what was decided."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon.errors import RlaifdError
from daemon.service.leadership import NAME, TTL_S, Leader
from daemon.service.lease import Lease
from daemon.stages.rollout.rollout import Reconciliation, Rollout
from daemon.store import rollouts
from daemon.store.store import Store
from policies.rollout import Assignment
from tests.daemon.stages.rollout.world import WHO, A, B, World, kinds, wished


@dataclass
class Daemon:
    """One of several: its own state directory, file, target and connections."""

    world: World
    leader: Leader
    rollout: Rollout

    def step(self) -> Reconciliation:
        self.leader.step()
        return self.rollout.reconcile(leads=self.leader.leads)

    def restart(self) -> None:
        self.rollout = self.world.rollout()


def daemon(store: Store, directory: Path, name: str, *, shares: World | None = None) -> Daemon:
    """A daemon as `rlaifd init` leaves it. `shares`: whose adapters it has on a shared volume."""
    home = directory / name
    home.mkdir()
    world = World(store, home)
    if shares is not None:
        (home / "state").mkdir()
        (home / "state" / "adapters").symlink_to(shares.adapters)
    leader = Leader(Lease(store, world.clock, NAME, name, TTL_S), world.clock)
    return Daemon(world, leader, world.rollout())


@pytest.fixture
def pair(store: Store, tmp_path: Path) -> tuple[Daemon, Daemon]:
    """The first leads. They share the adapters, and each has its own file."""
    first = daemon(store, tmp_path, "first")
    first.world.adapters.mkdir(parents=True)
    second = daemon(store, tmp_path, "second", shares=first.world)
    first.step()
    second.step()
    assert [each.leader.leads for each in (first, second)] == [True, False]
    return first, second


def test_a_promotion_is_one_change_of_epoch(pair: tuple[Daemon, Daemon], store: Store) -> None:
    """Both serve it; the file that names something else says `contradicted`, as a metric too."""
    first, second = pair
    for number, (name, against) in enumerate(((A, None), (B, A)), start=1):
        first.world.publish(name, against=against)
        first.rollout.promote(name, **WHO)
        for _ in range(10):
            assert first.step().conditions == ()
            found = second.step()
            assert (found.in_sync, found.stable, found.epoch) == (True, name, number)
            assert kinds(found.conditions) == ["contradicted"]
            first.restart()
            second.restart()
    assert len(store.read(rollouts.changes)) == 2
    assert (wished(first.world), wished(second.world)) == (B, None)
    assert [each.world.value("rollout_condition", condition="contradicted") for each in pair] == [0, 1]
    assert second.world.memory.served().adapter == B


def test_the_next_leader_goes_on_with_what_is_in_force(pair: tuple[Daemon, Daemon], store: Store) -> None:
    """Its old file wins nothing, also after a restart; changed, it does."""
    first, second = pair
    first.world.publish(A)
    first.rollout.promote(A, **WHO)
    second.step()
    first.leader.release()
    second.restart()
    for _ in range(3):
        found = second.step()
        assert second.leader.leads
        assert (found.stable, found.epoch, kinds(found.conditions)) == (A, 1, ["contradicted"])
    assert "names the base model, and " + A in found.conditions[0].message
    second.world.edit(A)
    assert second.step().conditions == ()
    second.world.edit(None)
    assert second.step().epoch == 2
    assert kinds(first.step().conditions) == ["contradicted"]
    assert store.read(rollouts.in_force).stable is None


def test_a_follower_carries_out_no_wish(pair: tuple[Daemon, Daemon], store: Store) -> None:
    """It says so; once it leads, a wish that nothing was decided against since is carried out."""
    first, second = pair
    second.world.publish(A)
    second.world.edit(A)
    found = second.step()
    assert (found.epoch, kinds(found.conditions)) == (0, ["contradicted"])
    assert "another daemon leads" in found.conditions[0].message
    first.leader.release()
    assert second.step().stable == A
    assert store.read(rollouts.changes)[0].wish != ""


def test_a_new_daemon_is_no_news(pair: tuple[Daemon, Daemon], store: Store, tmp_path: Path) -> None:
    """One with a state directory of its own, which comes to lead with the file that `init` wrote."""
    first, _ = pair
    first.world.publish(A)
    first.rollout.promote(A, **WHO)
    first.leader.release()
    third = daemon(store, tmp_path, "third", shares=first.world)
    for _ in range(3):
        assert kinds(third.step().conditions) == ["contradicted"]
        third.restart()
    assert store.read(rollouts.in_force) == Assignment(A, 1)
    third.world.edit(None)
    assert third.step().epoch == 2


def test_a_readmitted_adapter_waits_for_a_person(small: World) -> None:
    """A file that could not be written at the rollback still names it: that is an old wish."""
    rollout = small.promoted(A, B)
    named = small.file.read_text()
    rollout._file.put(named.encode())
    rollout._move(rollout.in_force(), A, actor="ann", reason="customers complain", action="rollback")
    assert kinds(rollout.reconcile().conditions) == ["quarantined"]
    rollout.readmit(B, actor="ann", reason="a false alarm")
    found = rollout.reconcile()
    assert (found.stable, kinds(found.conditions)) == (A, ["contradicted"])
    small.edit(B)
    assert rollout.reconcile().stable == B


def test_what_several_share_is_checked_at_the_start(
    pair: tuple[Daemon, Daemon], store: Store, tmp_path: Path
) -> None:
    """A daemon without the files of what is in force could neither serve nor lead."""
    first, second = pair
    first.world.publish(A)
    first.rollout.promote(A, **WHO)
    second.rollout.require_files()
    alone = daemon(store, tmp_path, "alone")
    with pytest.raises(RlaifdError, match=r"share state_dir/adapters and rollout\.file"):
        alone.rollout.require_files()


def test_epochs_have_no_gaps_and_no_flips(pair: tuple[Daemon, Daemon], store: Store) -> None:
    """The lease goes back and forth between restarts; each file was written once."""
    pair[0].world.publish(A)
    pair[0].rollout.promote(A, **WHO)
    for each, other in itertools.islice(itertools.cycle((pair, pair[::-1])), 10):
        each.leader.release()
        other.step()
        each.step()
        each.restart()
        assert other.leader.leads
    assert [(change.epoch, change.stable) for change in store.read(rollouts.changes)] == [(1, A)]
