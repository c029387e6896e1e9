"""An answer's reward: disagreement, mixture, ceiling, and what an answer that was cut loses."""

import math

import pytest

from policies.rewards import Reward, ceiling_of, finished, mixed, pessimistic


def test_disagreement_costs_its_standard_deviation() -> None:
    """By hand: 4, 6 and 8 have mean 6 and standard deviation 2."""
    assert pessimistic([4, 6, 8], 0.5) == pytest.approx(5)
    assert pessimistic([6, 6, 6], 3) == 6
    assert pessimistic([4, 6, 8], 0) == 6


def test_one_model_has_nothing_to_disagree_with() -> None:
    """Its own view is its reward."""
    assert pessimistic([7.5], 2) == 7.5


def test_a_mixture_is_over_what_is_known() -> None:
    """An answer without a stored verdict has the model's reward alone; with neither it has none."""
    assert mixed([(0.25, 8.0), (0.75, 4.0)]) == pytest.approx(5)
    assert mixed([(0.25, None), (0.75, 4.0)]) == pytest.approx(4)
    assert mixed([(0.25, None), (0.75, None)]) is None
    assert mixed([(0.0, 8.0), (1.0, None)]) is None


def test_the_ceiling_binds_the_mixture() -> None:
    """Above it a reward is the ceiling, and said to be; at it and below it is itself."""

    def made(mix: float, ceiling: float | None) -> Reward:
        return finished(mix, ceiling=ceiling, truncated=False, truncation_penalty=2)

    assert made(9.5, 8.0) == Reward(8.0, capped=True)
    assert made(8.0, 8.0) == Reward(8.0, capped=False)
    assert made(3.0, 8.0) == Reward(3.0, capped=False)
    assert made(9.5, None) == Reward(9.5, capped=False)


def test_no_answer_is_good_enough_to_be_cut_for_free() -> None:
    """The penalty comes after the ceiling."""
    cut = finished(9.5, ceiling=6.0, truncated=True, truncation_penalty=2)
    assert cut == Reward(4.0, capped=True)


def test_the_ceiling_of_rewards_is_their_quantile() -> None:
    """By hand: at 0.9 of eleven rewards is the tenth; between neighbours it goes by a line."""
    rewards = [float(n) for n in range(11)]
    assert ceiling_of(rewards, 0.9) == 9
    assert ceiling_of([2.0, 4.0], 0.25) == 2.5
    assert ceiling_of([3.0], 0.9) == 3
    assert ceiling_of(rewards[::-1], 1.0) == 10
    with pytest.raises(ValueError, match="no rewards"):
        ceiling_of([], 0.9)


def test_a_reward_that_is_no_number_stays_none() -> None:
    """NaN is not capped into a number: whoever trains on it must see it."""
    assert math.isnan(finished(math.nan, ceiling=8, truncated=False, truncation_penalty=0).value)
