"""One of several daemons leads, and stops by itself before another can."""

from daemon.clock import FakeClock
from daemon.service.leadership import TTL_S, Leader
from daemon.service.lease import Lease
from daemon.store.store import Store


def test_without_a_lease_the_daemon_always_leads(clock: FakeClock) -> None:
    """On SQLite nobody else can be there."""
    assert Leader(None, clock).only(lambda: 3)() == 3


def test_one_of_two_leads_and_the_other_after_its_release(store: Store, clock: FakeClock) -> None:
    """The second does nothing until the first lets go."""
    first, second = (
        Leader(Lease(store, clock, "leader", owner, TTL_S), clock) for owner in ("first", "second")
    )
    first.step()
    second.step()
    assert [leader.only(lambda: 1)() for leader in (first, second)] == [1, 0]
    first.release()
    second.step()
    assert [leader.leads for leader in (first, second)] == [False, True]


def test_a_leader_that_cannot_renew_stops_before_the_lease_ends(store: Store, clock: FakeClock) -> None:
    """A leader that was paused does not begin anything on the strength of an old lease."""
    leader = Leader(Lease(store, clock, "leader", "first", TTL_S), clock)
    leader.step()
    clock.advance(TTL_S * 0.9)
    assert not leader.leads


def test_one_that_may_not_lead_never_does(store: Store, clock: FakeClock) -> None:
    """It does not take the lease either, so that another gets it at once."""
    worker = Leader(Lease(store, clock, "leader", "worker", TTL_S), clock, may_lead=False)
    other = Leader(Lease(store, clock, "leader", "other", TTL_S), clock)
    worker.step()
    other.step()
    assert [leader.leads for leader in (worker, other)] == [False, True]
    assert not Leader(None, clock, may_lead=False).leads
