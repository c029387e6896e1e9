"""When a reward that rises and a judge that falls end a run: decisions from numbers."""

import random

import pytest

from policies.policy import FEWEST_PROMPTS, Guard
from policies.quantities import Auto
from policies.training.guarding import divergence
from policies.training.guarding.divergence import View
from policies.training.guarding.guards import enforced
from policies.training.jobs import Divergence

GUARD = Guard(limit=0.0)


def views(
    reward: float, judge: float, *, count: int = 16, blur: float = 0.5, seed: int = 0
) -> dict[int, View]:
    chance = random.Random(seed)
    return {
        each: View(reward + chance.gauss(0, blur), judge + chance.gauss(0, blur)) for each in range(count)
    }


START = views(4, 6, seed=1)


def look(now: dict[int, View], guard: Guard = GUARD, *, looks: int = 4) -> Divergence:
    return divergence.compared(7, START, now, guard, looks=looks)


@pytest.mark.parametrize(
    ("reward", "judge", "apart"),
    [(6, 4, True), (6, 8, False), (2, 4, False), (2, 8, False), (4, 4, False), (6, 6, False)],
)
def test_only_a_reward_that_rose_beside_a_judge_that_fell_is_divergence(
    reward: float, judge: float, *, apart: bool
) -> None:
    """Both beyond chance. A judge that falls with the reward, or beside one that stands still, is none."""
    found = look(views(reward, judge, seed=2))
    assert found.diverged is apart
    assert (found.prompts, found.unknown) == (16, "")
    assert found.reward == pytest.approx(reward - 4, abs=0.5)
    assert found.judge == pytest.approx(judge - 6, abs=0.5)


def test_a_fall_within_the_interval_is_no_fall() -> None:
    """The same mean fall of a judge whose scores are far apart proves nothing."""
    assert look(views(6, 5, seed=3)).diverged
    vague = look(views(6, 5, blur=4, seed=9))
    assert vague.judge is not None
    assert vague.judge < -0.5
    assert not vague.diverged


def test_a_fall_below_the_limit_is_let_pass() -> None:
    """The limit is in points beyond the interval."""
    now = views(6, 4, seed=2)
    assert look(now, Guard(limit=1.0)).diverged
    assert not look(now, Guard(limit=2.0)).diverged


def test_a_run_that_looks_often_needs_more_for_each_look() -> None:
    """Each look has its part of the error."""
    now = views(6, 4, seed=2)
    once, often = look(now, looks=1), look(now, looks=10)
    assert (once.judge, once.reward) == (often.judge, often.reward)
    assert once.judge_upper is not None
    assert often.judge_upper is not None
    assert once.judge_upper < often.judge_upper


def test_a_judge_that_sees_no_fall_stops_few_runs_by_chance() -> None:
    """Of 1,000 runs of four looks each, whose judge is pure noise, one in twenty at most."""
    chance = random.Random(5)

    def noise(reward: float) -> dict[int, View]:
        return {each: View(reward, chance.gauss(5, 2)) for each in range(16)}

    def stopped() -> bool:
        start = noise(4)
        return any(
            divergence.compared(step, start, noise(5), GUARD, looks=4).diverged for step in range(1, 5)
        )

    assert sum(stopped() for _ in range(1000)) <= 0.05 * 1000 + 3 * (1000 * 0.05 * 0.95) ** 0.5


def test_without_figures_there_is_no_verdict_and_the_reason_says_so() -> None:
    """Too few prompts of which both sides said something, now and at the start."""
    few = {each: view for each, view in views(9, 0).items() if each < FEWEST_PROMPTS - 1}
    for now in (few, {}):
        found = look(now)
        assert not found.diverged
        assert (found.reward, found.judge) == (None, None)
        assert found.unknown.startswith(f"{len(now)} prompts have figures")
        assert divergence.breaches(found, GUARD) == []


def test_the_reason_has_both_sides_and_a_dry_run_stops_nothing() -> None:
    """What stopped the run can be read from the reason."""
    found = look(views(6, 4, seed=2))
    (breach,) = divergence.breaches(found, GUARD)
    assert breach.guard == "divergence"
    assert breach.reason.startswith("divergence: since the start the reward of fresh answers rose by 1.87 ")
    assert "the large judge's score of them fell by 2.25 " in breach.reason
    assert breach.reason.endswith("on 16 prompts")
    assert enforced([breach]) == breach.reason
    assert enforced(divergence.breaches(found, Guard(limit=0.0, mode="dry_run"))) is None


@pytest.mark.parametrize(
    ("asked", "steps", "every", "looks"),
    [("auto", 50, 13, 4), ("auto", 3, 1, 3), (10, 25, 10, 3), (99, 5, 99, 1)],
)
def test_a_run_is_sounded_every_so_many_steps_and_at_its_end(
    asked: int | Auto, steps: int, every: int, looks: int
) -> None:
    """Four times where the policy leaves it open."""
    assert divergence.spacing(asked, steps) == every
    assert divergence.looks(steps, every) == looks
