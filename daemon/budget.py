"""The budget: the price of a call is reserved before it and settled after it, per judge and UTC day.

The sums are in the store, so that a restart and a second daemon count on. A process that dies between the two
leaves its reservation, which is held while its calls could be under way; then they are booked with what calls
of that day cost in the mean: nobody will say what they came to. Only what a call costs beyond what is counted
for it can pass the limit, and only for the calls in flight.
"""

import math
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.errors import RefusedError
from daemon.metrics.registry import Metrics
from daemon.store import spend
from daemon.store.spend import Hold, Spent
from daemon.store.store import Store
from policies.judging.judges import NamedJudge


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
    judge: NamedJudge
    day: str
    usd: float


@dataclass(frozen=True, slots=True)
class Asking:
    """A reservation to be made: `work` in any transaction, then `told` with what that answered."""

    judge: NamedJudge
    hold: Hold
    limit: float | None
    asked_at: float

    def work(self, connection: Connection) -> tuple[bool, Spent]:
        """Whether it fits, and the day's sums after it."""
        spend.give_up(connection, judge=self.hold.judge, now=self.asked_at)
        fits = spend.reserve(connection, self.hold, limit=self.limit)
        day, judge = self.hold.day, self.hold.judge
        return fits is not None, fits or spend.spent(connection, day=day, judge=judge)


@dataclass
class Settling:
    """A reservation that gives way to what its calls cost: `work` in any transaction."""

    reservation: Reservation
    actual: float
    spent: Spent = field(default_factory=Spent)

    def work(self, connection: Connection) -> Spent:
        """The day's sums after it."""
        held = self.reservation
        return spend.settle(
            connection, reservation=held.id, day=held.day, judge=held.judge.name, actual=self.actual
        )


LASTS_S = 600.0
"""How long a reservation is held where nobody says how long its calls may take."""


class Budget:
    """Reserves and settles. Safe to use from any thread. `reserve` and `settle` block for as long as one
    small transaction; their halves are for those who write several things in one.
    """

    def __init__(self, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._open: set[str] = set()
        self._lock = threading.Lock()

    def reserve(
        self, judge: NamedJudge, usd: float, limit: float | None, *, calls: int = 1, lasts_s: float = LASTS_S
    ) -> Reservation:
        """Sets `usd` aside for so many calls, which end within so many seconds.

        Raises BudgetExhaustedError when today's sum would pass `limit` (None: no limit), and ValueError for
        a price that is negative or not finite: an unknown price is not zero.
        """
        asking = self.asking(judge, usd, limit, calls=calls, lasts_s=lasts_s)
        return self.reserved(asking, self._store.write(asking.work))

    def asking(
        self, judge: NamedJudge, usd: float, limit: float | None, *, calls: int = 1, lasts_s: float = LASTS_S
    ) -> Asking:
        """The first half of `reserve`."""
        amount, now = _money(usd), self._clock.now()
        hold = Hold(uuid.uuid4().hex, self.today(), judge.name, amount, calls, now + lasts_s)
        return Asking(judge, hold, limit, now)

    def reserved(self, asking: Asking, found: tuple[bool, Spent]) -> Reservation:
        """The second half: what the committed work answered."""
        hold, limit, (fits, now) = asking.hold, asking.limit, found
        self._metrics.cost_today.labels(*asking.judge.labels).set(now.total)
        if not fits:
            raise BudgetExhaustedError(
                f"judge {hold.judge}: {now.total:.4f} of {limit:.4f} US dollars spent or reserved today "
                f"(UTC); the next call may cost {hold.usd:.4f}",
                usd=hold.usd,
                passing=limit is not None and now.settled + hold.usd <= limit,
            )
        with self._lock:
            self._open.add(hold.id)
        return Reservation(hold.id, asking.judge, hold.day, hold.usd)

    def settle(self, reservation: Reservation, actual_usd: float) -> None:
        """Replaces the reservation by what the call cost; 0 for a call that was never made.

        Raises ValueError for a reservation that is settled already, or for a cost that is no amount; the
        reservation then stays counted.
        """
        with self.settling(reservation, actual_usd) as settling:
            settling.spent = self._store.write(settling.work)

    @contextmanager
    def settling(self, reservation: Reservation, actual_usd: float) -> Iterator["Settling"]:
        """`settle`, whose `work` the caller commits within the context, and keeps the answer in `spent`."""
        settling = Settling(reservation, _money(actual_usd))
        with self._lock:
            if reservation.id not in self._open:
                raise ValueError(f"reservation {reservation.id} is not open: it was settled before")
            self._open.discard(reservation.id)
        try:
            yield settling
        except BaseException:
            with self._lock:
                self._open.add(reservation.id)
            raise
        self._metrics.cost.labels(*reservation.judge.labels).inc(settling.actual)
        if reservation.day == self.today():
            self._metrics.cost_today.labels(*reservation.judge.labels).set(settling.spent.total)

    def spent_today(self, judge: NamedJudge) -> Spent:
        """What today's calls have reserved and cost; sets the gauge, which else keeps yesterday's figure."""
        day, now_s = self.today(), self._clock.now()
        if self._store.read(lambda connection: spend.expired(connection, judge=judge.name, now=now_s)):
            self._store.write(lambda connection: spend.give_up(connection, judge=judge.name, now=now_s))
        now = self._store.read(lambda connection: spend.spent(connection, day=day, judge=judge.name))
        self._metrics.cost_today.labels(*judge.labels).set(now.total)
        return now

    def today(self) -> str:
        """The UTC day that a call now is counted on."""
        return datetime.fromtimestamp(self._clock.now(), UTC).date().isoformat()


def _money(usd: float) -> float:
    if not math.isfinite(usd) or usd < 0:
        raise ValueError(f"{usd} is not an amount of US dollars")
    return float(usd)
