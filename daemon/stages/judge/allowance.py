"""What a judge may still spend today: whether to claim anything for it at all."""

from datetime import UTC, datetime, timedelta

from daemon.budget import Budget, BudgetExhaustedError
from daemon.clock import Clock
from daemon.store.spend import ROUNDING_USD
from policies.judging.judges import NamedJudge


class Allowance:
    """One judge's, beside its budget. Nothing is put off to tomorrow: a limit that was raised counts at once.

    `least_usd` is what no call of the judge is reserved less than.
    """

    def __init__(
        self, *, budget: Budget, judge: NamedJudge, limit_usd: float | None, least_usd: float, clock: Clock
    ) -> None:
        self._budget = budget
        self._judge = judge
        self._limit_usd = limit_usd
        self._least_usd = least_usd
        self._clock = clock
        self._refused: tuple[str, float] | None = None

    def refused(self, error: BudgetExhaustedError) -> None:
        """A call did not fit. Until there is room for the least of those of today, none is claimed for."""
        day = self._budget.today()
        known = self._refused[1] if self._refused is not None and self._refused[0] == day else error.usd
        self._refused = (day, min(known, error.usd))

    def shortage(self) -> str:
        """Why no call fits today, one line; "" where one does. Blocking, for as long as one small read."""
        if self._limit_usd is None or self._least_usd == 0:
            return ""
        least = self._least_usd
        if self._refused is not None and self._refused[0] == self._budget.today():
            least = max(least, self._refused[1])
        spent = self._budget.spent_today(self._judge)
        if spent.total + least <= self._limit_usd + ROUNDING_USD:
            return ""
        until = datetime.fromtimestamp(next_day(self._clock.now()), UTC).isoformat()
        return (
            f"judge {self._judge.name}: {spent.settled:.4f} of {self._limit_usd:.4f} US dollars are spent "
            f"today (UTC) and {spent.reserved:.4f} reserved; a call may cost {least:.4f}: raise "
            f"judges.{self._judge.name}.daily_budget_usd, or wait until {until}"
        )


def next_day(now: float) -> float:
    """The start of the next UTC day, in seconds since the epoch."""
    day = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (day + timedelta(days=1)).timestamp()
