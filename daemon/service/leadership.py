"""Which of several daemons on one database curates, trains, decides and promotes.

On SQLite there is one daemon by construction. On PostgreSQL one holds the lease; the others ingest and judge,
and look now and then whether the leader is gone. A leader stops by its own clock before the lease can have
passed to another; what it changes in the store is fenced there besides (claims by token, rollout by epoch).
"""

from collections.abc import Callable

from daemon.clock import Clock
from daemon.service.lease import Lease

NAME = "leader"
TTL_S = 15.0
MARGIN = 0.8
"""Share of the lease for which a leader trusts its own clock."""


class Leader:
    """Leads while the lease is held; always, where there is none. One that may not lead never does."""

    def __init__(self, lease: Lease | None, clock: Clock, *, may_lead: bool = True) -> None:
        self._lease = lease
        self._may_lead = may_lead
        self._clock = clock
        self._until = float("-inf")

    def step(self) -> int:
        """Acquires or renews the lease. Called at least every third of its length."""
        if self._lease is not None and self._may_lead:
            asked_at = self._clock.monotonic()
            held = self._lease.acquire() is not None
            self._until = asked_at + MARGIN * self._lease.ttl_s if held else float("-inf")
        return 0

    @property
    def leads(self) -> bool:
        """Whether this process may begin what only one may do."""
        return self._may_lead and (self._lease is None or self._clock.monotonic() < self._until)

    def only(self, step: Callable[[], int]) -> Callable[[], int]:
        """The step, which does nothing while another daemon leads."""
        return lambda: step() if self.leads else 0

    def release(self) -> None:
        """Lets another lead at once."""
        self._until = float("-inf")
        if self._lease is not None:
            self._lease.release()
