"""The budget: the price of a call is reserved before it and settled after it, per judge and UTC day.

The sums are in the store, so that a restart and a second daemon count on. A process that dies between the two
leaves its reservation, which is held while its calls could be under way; then they are booked with what calls
of that day cost in the mean: nobody will say what they came to. Only what a call costs beyond what is counted
for it can pass the limit, and only for the calls in flight.
"""

import math
import threading
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.errors import RefusedError
from daemon.metrics.registry import Metrics
from daemon.store import spend
from daemon.store.spend import Hold, Spent
from daemon.store.store import Store


class BudgetExhaustedError(RefusedError):
    """The call does not fit into what is left of today. Nothing was reserved.

    `usd` is what was asked for. `passing`: it would fit beside what is settled. Calls under way may cost less
    than is reserved for them.
    """

    def __init__(self, message: str, *, usd: float = 0.0, passing: bool = False) -> None:
        super().__init__(message)
        self.usd = usd
        self.passing = passing


@dataclass(frozen=True, slots=True)
class Reservation:
    """US dollars set aside for one call, or for several together, on the day they were asked for."""

    id: str
    judge: str
    day: str
    usd: float


LASTS_S = 600.0
"""How long a reservation is held where nobody says how long its calls may take."""


class Budget:
    """Reserves and settles. Safe to use from any thread; blocking, for as long as one small transaction."""

    def __init__(self, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._open: set[str] = set()
        self._lock = threading.Lock()

    def reserve(
        self, judge: str, usd: float, limit: float | None, *, calls: int = 1, lasts_s: float = LASTS_S
    ) -> Reservation:
        """Sets `usd` aside for so many calls, which end within so many seconds.

        Raises BudgetExhaustedError when today's sum would pass `limit` (None: no limit), and ValueError for
        a price that is negative or not finite: an unknown price is not zero.
        """
        amount, day, now_s = _money(usd), self.today(), self._clock.now()
        hold = Hold(uuid.uuid4().hex, day, judge, amount, calls, now_s + lasts_s)

        def work(connection: Connection) -> tuple[bool, Spent]:
            spend.give_up(connection, judge=judge, now=now_s)
            fits = spend.reserve(connection, hold, limit=limit)
            return fits, spend.spent(connection, day=day, judge=judge)

        fits, now = self._store.write(work)
        self._metrics.cost_today.labels(judge).set(now.total)
        if not fits:
            raise BudgetExhaustedError(
                f"judge {judge}: {now.total:.4f} of {limit:.4f} US dollars spent or reserved today (UTC); "
                f"the next call may cost {amount:.4f}",
                usd=amount,
                passing=limit is not None and now.settled + amount <= limit,
            )
        reservation = Reservation(hold.id, judge, day, amount)
        with self._lock:
            self._open.add(reservation.id)
        return reservation

    def settle(self, reservation: Reservation, actual_usd: float) -> None:
        """Replaces the reservation by what the call cost; 0 for a call that was never made.

        Raises ValueError for a reservation that is settled already, or for a cost that is no amount; the
        reservation then stays counted.
        """
        actual = _money(actual_usd)
        with self._lock:
            if reservation.id not in self._open:
                raise ValueError(f"reservation {reservation.id} is not open: it was settled before")
            self._open.discard(reservation.id)
        day, judge = reservation.day, reservation.judge

        def work(connection: Connection) -> Spent:
            spend.settle(connection, reservation=reservation.id, day=day, judge=judge, actual=actual)
            return spend.spent(connection, day=day, judge=judge)

        try:
            now = self._store.write(work)
        except BaseException:
            with self._lock:
                self._open.add(reservation.id)
            raise
        self._metrics.cost.labels(judge).inc(actual)
        if day == self.today():
            self._metrics.cost_today.labels(judge).set(now.total)

    def spent_today(self, judge: str) -> Spent:
        """What today's calls have reserved and cost; sets the gauge, which else keeps yesterday's figure."""
        day, now_s = self.today(), self._clock.now()
        if self._store.read(lambda connection: spend.expired(connection, judge=judge, now=now_s)):
            self._store.write(lambda connection: spend.give_up(connection, judge=judge, now=now_s))
        now = self._store.read(lambda connection: spend.spent(connection, day=day, judge=judge))
        self._metrics.cost_today.labels(judge).set(now.total)
        return now

    def today(self) -> str:
        """The UTC day that a call now is counted on."""
        return datetime.fromtimestamp(self._clock.now(), UTC).date().isoformat()


def _money(usd: float) -> float:
    if not math.isfinite(usd) or usd < 0:
        raise ValueError(f"{usd} is not an amount of US dollars")
    return float(usd)
