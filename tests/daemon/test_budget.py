"""The budget, on both databases."""

import math
import threading
from dataclasses import astuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.budget import Budget, BudgetExhaustedError, Reservation
from daemon.clock import FakeClock
from daemon.errors import RefusedError
from daemon.metrics.registry import Metrics
from daemon.store.spend import ROUNDING_USD, Spent
from daemon.store.store import Store
from tests.judges import LARGE, SMALL


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def budget(store: Store, clock: FakeClock, metrics: Metrics) -> Budget:
    return Budget(store, clock, metrics)


def test_a_call_that_fits_is_reserved_then_settled(budget: Budget) -> None:
    """The reservation gives way to what the call cost."""
    reservation = budget.reserve(SMALL, 0.5, limit=1.0)
    assert budget.spent_today(SMALL) == Spent(reserved=0.5, settled=0.0, calls=1)
    budget.settle(reservation, 0.2)
    assert budget.spent_today(SMALL) == Spent(reserved=0.0, settled=0.2, calls=1)


def test_a_refusal_tells_whether_only_open_reservations_stand_in_the_way(budget: Budget) -> None:
    """Once they are settled the same call may fit, or it will not before tomorrow."""
    held = budget.reserve(SMALL, 0.9, limit=1.0)
    with pytest.raises(BudgetExhaustedError) as refused:
        budget.reserve(SMALL, 0.5, limit=1.0)
    assert refused.value.passing
    budget.settle(held, 0.9)
    with pytest.raises(BudgetExhaustedError) as refused:
        budget.reserve(SMALL, 0.5, limit=1.0)
    assert not refused.value.passing


def test_a_call_that_does_not_fit_is_refused_and_reserves_nothing(budget: Budget) -> None:
    """The refusal names judge, sum and limit, and ends a command with exit code 3."""
    budget.reserve(SMALL, 0.9, limit=1.0)
    with pytest.raises(BudgetExhaustedError, match=r"judge small: 0\.9000 of 1\.0000 US dollars") as refused:
        budget.reserve(SMALL, 0.2, limit=1.0)
    assert isinstance(refused.value, RefusedError)
    assert budget.spent_today(SMALL).total == pytest.approx(0.9)
    budget.reserve(SMALL, 0.1, limit=1.0)


def test_a_settled_call_makes_room(budget: Budget) -> None:
    """What a call did not use is there for the next."""
    budget.settle(budget.reserve(SMALL, 1.0, limit=1.0), 0.25)
    budget.reserve(SMALL, 0.75, limit=1.0)


def test_judges_and_days_are_counted_apart(budget: Budget, clock: FakeClock) -> None:
    """Another judge, or the next UTC day, has its own sum."""
    budget.reserve(SMALL, 1.0, limit=1.0)
    budget.reserve(LARGE, 1.0, limit=1.0)
    clock.advance(86_400)
    budget.reserve(SMALL, 1.0, limit=1.0)
    assert budget.spent_today(LARGE).total == 0.0


def test_the_day_is_utc_and_a_call_is_settled_on_the_day_it_was_reserved(store: Store) -> None:
    """A call over midnight does not use up the new day."""
    clock = FakeClock(1_699_999_200.0 + 3 * 3600 - 6000)  # 23:20 UTC
    budget = Budget(store, clock, Metrics())
    assert budget.today() == "2023-11-14"
    reservation = budget.reserve(SMALL, 1.0, limit=1.0)
    clock.advance(2400)
    assert budget.today() == "2023-11-15"
    budget.settle(reservation, 1.0)
    assert budget.spent_today(SMALL).total == 0.0


def test_no_limit_is_counted_and_never_refused(budget: Budget) -> None:
    """None is no limit; 0 is a limit that nothing but free calls fit into."""
    budget.reserve(SMALL, 1e6, limit=None)
    assert budget.spent_today(SMALL).reserved == 1e6
    budget.reserve(LARGE, 0.0, limit=0.0)
    with pytest.raises(BudgetExhaustedError):
        budget.reserve(LARGE, 0.01, limit=0.0)


def test_a_restart_counts_on_and_keeps_orphans_counted(
    store: Store, budget: Budget, clock: FakeClock
) -> None:
    """What a process that died had reserved is counted while its calls may be under way."""
    budget.settle(budget.reserve(SMALL, 0.4, limit=1.0), 0.4)
    budget.reserve(SMALL, 0.4, limit=1.0)
    after = Budget(store, clock, Metrics())
    with pytest.raises(BudgetExhaustedError):
        after.reserve(SMALL, 0.3, limit=1.0)
    after.reserve(SMALL, 0.2, limit=1.0)


def test_a_killed_process_holds_no_money_until_midnight(
    store: Store, budget: Budget, clock: FakeClock
) -> None:
    """When its calls must have ended they are booked with the mean of the day's: nobody knows their bill."""
    for _ in range(4):
        budget.settle(budget.reserve(SMALL, 0.1, limit=1.0, calls=2), 0.02)
    budget.reserve(SMALL, 0.8, limit=1.0, calls=16, lasts_s=300.0)
    after = Budget(store, clock, Metrics())
    clock.advance(299)
    assert astuple(after.spent_today(SMALL)) == pytest.approx((0.8, 0.08, 24))
    clock.advance(2)
    assert astuple(after.spent_today(SMALL)) == pytest.approx((0.0, 0.08 + 16 * 0.01, 24))
    after.reserve(SMALL, 0.7, limit=1.0)


def test_the_first_calls_of_a_day_are_booked_as_estimated(store: Store, clock: FakeClock) -> None:
    """Where none was settled, nothing better is known; two that died are two, and another judge's stay."""
    dying = Budget(store, clock, Metrics())
    dying.reserve(SMALL, 0.3, limit=1.0, lasts_s=60.0)
    dying.reserve(SMALL, 0.2, limit=1.0, lasts_s=60.0)
    dying.reserve(LARGE, 0.5, limit=1.0, lasts_s=900.0)
    clock.advance(61)
    after = Budget(store, clock, Metrics())
    after.settle(after.reserve(SMALL, 0.5, limit=1.0), 0.1)
    assert astuple(after.spent_today(SMALL)) == pytest.approx((0.0, 0.6, 3))
    assert after.spent_today(LARGE).reserved == 0.5


def test_a_call_that_was_given_up_and_comes_all_the_same_is_booked(budget: Budget, clock: FakeClock) -> None:
    """Its bill is known then: the budget errs towards spending too little."""
    late = budget.reserve(SMALL, 0.4, limit=1.0, lasts_s=60.0)
    clock.advance(61)
    assert budget.spent_today(SMALL).settled == 0.4
    budget.settle(late, 0.3)
    assert astuple(budget.spent_today(SMALL)) == pytest.approx((0.0, 0.7, 1))


def test_a_reservation_is_settled_once(budget: Budget) -> None:
    """A second settlement is a mistake of the caller and changes nothing."""
    reservation = budget.reserve(SMALL, 0.5, limit=None)
    budget.settle(reservation, 0.1)
    with pytest.raises(ValueError, match="not open"):
        budget.settle(reservation, 0.1)
    assert budget.spent_today(SMALL).settled == 0.1


@pytest.mark.parametrize("usd", [-0.1, math.nan, math.inf])
def test_what_is_no_amount_is_refused(budget: Budget, usd: float) -> None:
    """Neither a price nor a cost may be negative or not finite; the reservation stays counted."""
    with pytest.raises(ValueError, match="not an amount"):
        budget.reserve(SMALL, usd, limit=1.0)
    reservation = budget.reserve(SMALL, 0.5, limit=1.0)
    with pytest.raises(ValueError, match="not an amount"):
        budget.settle(reservation, usd)
    assert budget.spent_today(SMALL).reserved == 0.5


def test_reservations_at_once_never_pass_the_limit(store: Store, clock: FakeClock) -> None:
    """Eight threads of two daemons ask for more than there is: exactly what fits is given."""
    budgets = [Budget(store, clock, Metrics()) for _ in range(2)]
    given_: list[Reservation] = []

    def ask(budget: Budget) -> None:
        for _ in range(15):
            try:
                given_.append(budget.reserve(SMALL, 0.1, limit=5.0))
            except BudgetExhaustedError:
                continue

    threads = [threading.Thread(target=ask, args=(budgets[number % 2],)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given_) == 50
    assert budgets[0].spent_today(SMALL).calls == 50


def test_any_order_of_calls_keeps_the_sums(sqlite_store: Store) -> None:
    """Open and settled sums equal the model's; the limit is not passed while calls cost what was reserved."""
    days = iter(range(10_000))

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.tuples(st.booleans(), st.floats(0, 2), st.floats(0, 1)), max_size=25))
    def sums(steps: list[tuple[bool, float, float]]) -> None:
        budget = Budget(sqlite_store, FakeClock(1.7e9 + 86_400 * next(days)), Metrics())
        open_: list[Reservation] = []
        settled = 0.0
        for settle, usd, share in steps:
            if settle and open_:
                reservation = open_.pop()
                budget.settle(reservation, reservation.usd * share)
                settled += reservation.usd * share
            else:
                try:
                    open_.append(budget.reserve(SMALL, usd, limit=5.0))
                except BudgetExhaustedError:
                    assert sum(r.usd for r in open_) + settled + usd > 5.0 - ROUNDING_USD
        spent = budget.spent_today(SMALL)
        assert spent.reserved == pytest.approx(sum(r.usd for r in open_), abs=1e-6)
        assert spent.settled == pytest.approx(settled, abs=1e-6)
        assert spent.total <= 5.0 + 2 * ROUNDING_USD

    sums()


def test_metrics_follow(budget: Budget, metrics: Metrics, clock: FakeClock) -> None:
    """Settled money is counted; today's gauge has both sums, and starts anew with the day."""

    def value(name: str) -> float | None:
        return metrics.registry.get_sample_value(f"rlaifd_{name}", {"judge": "small", "role": "small"})

    first = budget.reserve(SMALL, 0.5, limit=None)
    budget.reserve(SMALL, 0.25, limit=None)
    assert value("judge_cost_today_usd") == pytest.approx(0.75)
    budget.settle(first, 0.4)
    assert value("judge_cost_today_usd") == pytest.approx(0.65)
    assert value("judge_cost_usd_total") == pytest.approx(0.4)
    clock.advance(86_400)
    budget.spent_today(SMALL)
    assert value("judge_cost_today_usd") == 0.0
