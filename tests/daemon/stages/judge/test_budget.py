"""No judge costs more than its budget, and what it cost is settled."""

import pytest

from connectors.errors import PoisonError, TransientError
from connectors.memory import MemoryJudge
from daemon.clock import FakeClock
from daemon.errors import ConfigError
from daemon.stages.judge.allowance import next_day
from daemon.store.store import Store
from policies.policy import JudgingRule
from tests.daemon.stages.judge.court import PRICED, Court, config, raising


def test_the_budget_ends_the_day(store: Store) -> None:
    """No call passes the limit; what is left is not claimed any more, and is judged on the next UTC day."""
    clock = FakeClock()
    court = Court(
        store,
        clock=clock,
        config=config(price=PRICED, daily_budget_usd=2.5, max_tokens=500, concurrency=2),
        rule=JudgingRule(samples=1),
    )
    court.want_scores(*(f"answer {at}" for at in range(20)))
    stage = court.stage()
    done = court.drain(stage)
    assert 1 < done < 20
    spent = sum(row.cost_usd for row in court.calls)
    assert spent <= 2.5
    assert court.budget.spent_today(court.named).total == pytest.approx(spent)
    waiting = [row for row in court.judgements if row.state == "open"]
    assert {(row.not_before, row.token) for row in waiting} == {(0.0, None)}
    attempts = [row.attempts for row in court.judgements]
    assert court.step(stage) == 0
    assert [row.attempts for row in court.judgements] == attempts, "it was claimed for nothing"
    assert "raise judges.small.daily_budget_usd" in stage.shortage(court.role)
    assert court.metric("judge_budget_short", judge="small") == 1
    clock.advance(next_day(clock.now()) - clock.now())
    assert court.drain(stage) > 0
    clock.advance(86_400)
    court.step(stage)
    assert court.metric("judge_budget_short", judge="small") == 0


def test_a_raised_budget_counts_at_once(store: Store, clock: FakeClock) -> None:
    """Nothing was put off until midnight: the next start judges on."""
    priced = config(price=PRICED, daily_budget_usd=2.0, max_tokens=500)
    court = Court(store, clock=clock, config=priced, rule=JudgingRule(samples=1))
    court.want_scores(*(f"answer {at}" for at in range(6)))
    done = court.drain()
    assert done < 6
    court.config = priced.model_copy(update={"daily_budget_usd": 100.0})
    assert court.drain() == 6 - done


def test_money_that_is_only_reserved_is_waited_for(store: Store, clock: FakeClock) -> None:
    """Calls under way may cost less than they hold: what they kept from being asked waits no whole day."""
    court = Court(
        store,
        clock=clock,
        config=config(price=PRICED, daily_budget_usd=5.0, max_tokens=500),
        rule=JudgingRule(samples=1),
    )
    court.want_scores("four")
    stage, held = court.stage(), court.budget.reserve(court.named, 4.9, 5.0)
    assert court.step(stage) == 0
    (row,) = court.judgements
    assert row.not_before < clock.now() + 120
    court.budget.settle(held, 0.1)
    clock.advance(120)
    assert court.step(stage) == 1


def test_a_budget_without_a_price_is_refused_at_the_start(store: Store) -> None:
    """Unknown is not zero."""
    court = Court(store, config=config(model="own", price=None, daily_budget_usd=1.0))
    with pytest.raises(ConfigError, match=r"judges\.small\.price"):
        court.stage()


def test_the_budget_settles_what_calls_cost(store: Store) -> None:
    """Nothing stays reserved, also where calls failed."""
    court = Court(
        store,
        config=config(price=PRICED, daily_budget_usd=500.0, attempts=2),
        judge=MemoryJudge(raising(TransientError("500"), None, PoisonError("no"))),
    )
    court.want_scores("one", "two", "three")
    court.drain()
    spent = court.budget.spent_today(court.named)
    assert spent.reserved == 0
    assert spent.calls == len(court.calls)
    assert spent.settled == pytest.approx(sum(row.cost_usd for row in court.calls))
    assert sum(row.cost_usd for row in court.calls) > 0
