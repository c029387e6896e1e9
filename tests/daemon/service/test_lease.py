"""The lease, on both databases. On PostgreSQL time is the server's: expiries there are set by hand."""

import threading

import pytest
from sqlalchemy import Connection, text

from daemon.clock import FakeClock
from daemon.service.lease import Lease
from daemon.store.leases import holds
from daemon.store.store import Store

TTL = 15.0


class StaleLeaderError(Exception):
    """The effect was refused: the lease is another's."""


@pytest.fixture
def ann(store: Store, clock: FakeClock) -> Lease:
    return Lease(store, clock, "leader", "ann", TTL)


@pytest.fixture
def bob(store: Store, clock: FakeClock) -> Lease:
    return Lease(store, clock, "leader", "bob", TTL)


def expire(store: Store, clock: FakeClock) -> None:
    """Lets the lease run out, as a paused leader's does."""
    if store.is_sqlite:
        clock.advance(TTL + 1)
    else:
        store.write(lambda c: c.execute(text("UPDATE lease SET expires_at = 1.0")))


def leads(store: Store, clock: FakeClock, lease: Lease, epoch: int) -> bool:
    return store.write(lambda c: holds(c, lease.name, lease.owner, epoch, clock.now()))


def test_one_leads(ann: Lease, bob: Lease) -> None:
    """The second gets nothing while the first holds; the first goes on with the same epoch."""
    assert ann.acquire() == 1
    assert bob.acquire() is None
    assert ann.acquire() == 1
    assert ann.renew()
    assert not bob.renew()


def test_a_lease_that_ran_out_is_taken_with_a_higher_epoch(
    store: Store, clock: FakeClock, ann: Lease, bob: Lease
) -> None:
    """The old leader sees at its renewal that it lost, and leads again only after the new one."""
    ann.acquire()
    expire(store, clock)
    assert bob.acquire() == 2
    assert not ann.renew()
    assert ann.epoch is None
    assert ann.acquire() is None
    bob.release()
    assert ann.acquire() == 3


def test_a_lease_that_ran_out_is_lost_even_if_nobody_took_it(
    store: Store, clock: FakeClock, ann: Lease
) -> None:
    """In the gap nobody held it: going on needs a new epoch."""
    ann.acquire()
    expire(store, clock)
    assert not ann.renew()
    assert ann.acquire() == 2


def test_renewal_keeps_the_lease_beyond_its_first_expiry(sqlite_store: Store, clock: FakeClock) -> None:
    """Renewed in time, it never changes hands."""
    ann, bob = (Lease(sqlite_store, clock, "leader", name, TTL) for name in ("ann", "bob"))
    ann.acquire()
    for _ in range(10):
        clock.advance(TTL / 2)
        assert ann.renew()
        assert bob.acquire() is None


def test_a_stale_leader_cannot_write(store: Store, clock: FakeClock, ann: Lease, bob: Lease) -> None:
    """Paused between its check and its write, it is refused by the check inside the transaction: 25 of 25."""
    written: list[str] = []

    def promote(lease: Lease, epoch: int) -> None:
        def work(connection: Connection) -> None:
            if not holds(connection, lease.name, lease.owner, epoch, clock.now()):
                raise StaleLeaderError(lease.owner)
            written.append(lease.owner)

        store.write(work)

    for _ in range(25):
        old = ann.acquire()
        assert old is not None
        assert leads(store, clock, ann, old)
        expire(store, clock)
        new = bob.acquire()
        assert new is not None
        promote(bob, new)
        with pytest.raises(StaleLeaderError):
            promote(ann, old)
        bob.release()
    assert written == ["bob"] * 25


def test_a_stale_owner_with_a_new_epoch_does_not_hold_by_the_old(
    store: Store, clock: FakeClock, ann: Lease
) -> None:
    """The epoch counts, not the name."""
    first = ann.acquire()
    assert first is not None
    ann.release()
    second = ann.acquire()
    assert second is not None
    assert (leads(store, clock, ann, first), leads(store, clock, ann, second)) == (False, True)
    assert store.read(lambda c: holds(c, "leader", "ann", second, clock.now()))


def test_released_is_free_at_once(ann: Lease, bob: Lease) -> None:
    """Nobody waits for the expiry of a lease that was given up; a late release takes nothing away."""
    ann.acquire()
    ann.release()
    assert bob.acquire() == 2
    ann.release()
    assert bob.renew()


def test_of_many_at_once_one_leads(store: Store, clock: FakeClock) -> None:
    """Eight ask at the same time."""
    leases = [Lease(store, clock, "leader", f"owner-{number}", TTL) for number in range(8)]
    threads = [threading.Thread(target=lease.acquire) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [lease.epoch for lease in leases if lease.epoch is not None] == [1]


def test_names_are_apart(store: Store, clock: FakeClock, ann: Lease) -> None:
    """A lease of another name is another lease."""
    ann.acquire()
    assert Lease(store, clock, "trainer", "bob", TTL).acquire() == 1


def test_a_clock_set_back_does_not_lock_everyone_out(sqlite_store: Store, clock: FakeClock) -> None:
    """A dead leader's expiry far in the future is not waited for, and the epoch still rises."""
    ann, bob = (Lease(sqlite_store, clock, "leader", name, TTL) for name in ("ann", "bob"))
    ann.acquire()
    clock.advance(-86_400)
    assert bob.acquire() == 2
    assert not ann.renew()


@pytest.mark.postgres
def test_the_server_s_time_decides_on_postgresql(postgres_store: Store) -> None:
    """A daemon whose clock is a day ahead does not take a lease that is in force."""
    fast = FakeClock(FakeClock().now() + 10 * 365 * 86_400)
    assert Lease(postgres_store, FakeClock(), "leader", "ann", TTL).acquire() == 1
    assert Lease(postgres_store, fast, "leader", "bob", TTL).acquire() is None
