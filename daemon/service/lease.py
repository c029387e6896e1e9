"""The lease: one process leads, and a fencing epoch keeps one that only thinks so from doing harm.

A leader that was paused past its lease does not know it. So `renew` is no permission: every effect re-checks
`daemon.store.leases.holds` in its own transaction, and effects outside the store carry the epoch.
"""

from daemon.clock import Clock
from daemon.log import get
from daemon.store import leases
from daemon.store.store import Store

log = get("lease")


class Lease:
    """A named lease of `ttl_s` seconds. `owner` must be unique to this process: two that share it would share
    the lease. Renew at a third of `ttl_s`. Used from one thread.
    """

    def __init__(self, store: Store, clock: Clock, name: str, owner: str, ttl_s: float) -> None:
        self._store = store
        self._clock = clock
        self.name = name
        self.owner = owner
        self.ttl_s = ttl_s
        self.epoch: int | None = None
        """The epoch last acquired and not yet seen lost. None: not leading."""

    def acquire(self) -> int | None:
        """Leads if nobody does, or goes on leading; returns the epoch. None: another leads."""
        if self.renew():
            return self.epoch
        now = self._clock.now()
        self.epoch = self._store.write(
            lambda c: leases.acquire(c, name=self.name, owner=self.owner, ttl_s=self.ttl_s, now=now)
        )
        if self.epoch is not None:
            log.info("lease_acquired", lease=self.name, owner=self.owner, epoch=self.epoch)
        return self.epoch

    def renew(self) -> bool:
        """Prolongs the lease. False: it is lost, and what it guarded must stop."""
        epoch, now = self.epoch, self._clock.now()
        if epoch is None:
            return False
        kept = self._store.write(
            lambda c: leases.renew(
                c, name=self.name, owner=self.owner, epoch=epoch, ttl_s=self.ttl_s, now=now
            )
        )
        if not kept:
            self.epoch = None
            log.warning("lease_lost", lease=self.name, owner=self.owner, epoch=epoch)
        return kept

    def release(self) -> None:
        """Gives the lease up, so that another need not wait for its expiry."""
        epoch = self.epoch
        self.epoch = None
        if epoch is not None:
            self._store.write(lambda c: leases.release(c, name=self.name, owner=self.owner, epoch=epoch))
