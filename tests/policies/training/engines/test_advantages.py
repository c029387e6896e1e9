"""Token rewards, advantages and whitening, against what can be worked out by hand."""

from typing import Any

import pytest

pytestmark = pytest.mark.training

BEHAVIOUR = [[-1.0, -2.0, -0.5], [0.0, -1.0, -1.0]]
REFERENCE = [[-1.5, -1.0, -0.5], [0.0, -3.0, -1.0]]
MASK = [[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]


def tensor(values: Any) -> Any:
    import torch

    return torch.tensor(values)


def test_the_score_comes_with_the_last_token_and_the_penalty_with_each() -> None:
    """Coefficient 0.1: drifts 0.5, -1, 0 cost -0.05, +0.1, 0; the score is added in the last column."""
    from policies.training.engines.advantages import token_rewards

    found = token_rewards(tensor([3.0, 5.0]), tensor(BEHAVIOUR), tensor(REFERENCE), tensor(MASK), 0.1)
    assert found.tolist() == [pytest.approx([-0.05, 0.1, 3.0]), pytest.approx([0.0, -0.2, 5.0])]


def test_the_penalty_ignores_what_is_before_an_answer() -> None:
    """Whatever stands in the columns of padding, the reward there is 0."""
    from policies.training.engines.advantages import token_rewards

    found = token_rewards(
        tensor([0.0]), tensor([[7.0, -1.0]]), tensor([[-7.0, -1.0]]), tensor([[0.0, 1.0]]), 1
    )
    assert found.tolist() == [[0.0, 0.0]]


def test_gae_is_what_one_gets_by_hand() -> None:
    """Gamma 0.9, lambda 0.5: deltas 1.3, -0.4, 2 and advantages 1.3 + 0.45 (-0.4 + 0.45 x 2), …"""
    from policies.training.engines.advantages import gae

    rewards, values = tensor([[0.4, -0.4, 3.0]]), tensor([[0.0, 1.0, 1.0]])
    found = gae(rewards, values, tensor([[1.0, 1.0, 1.0]]), gamma=0.9, lam=0.5)
    last = 3.0 - 1.0
    middle = (-0.4 + 0.9 * 1.0 - 1.0) + 0.45 * last
    first = (0.4 + 0.9 * 1.0 - 0.0) + 0.45 * middle
    assert found.tolist() == [pytest.approx([first, middle, last])]


def test_with_both_at_one_an_advantage_is_the_return_minus_the_value() -> None:
    """Values in between cancel."""
    from policies.training.engines.advantages import gae

    rewards, values = tensor([[1.0, 2.0, 4.0]]), tensor([[0.5, -3.0, 9.0]])
    found = gae(rewards, values, tensor([[1.0, 1.0, 1.0]]), gamma=1, lam=1)
    assert found.tolist() == [pytest.approx([7 - 0.5, 6 + 3.0, 4 - 9.0])]


def test_with_lambda_zero_an_advantage_is_one_step_of_surprise() -> None:
    """Only the next value counts."""
    from policies.training.engines.advantages import gae

    rewards, values = tensor([[1.0, 2.0, 4.0]]), tensor([[0.5, -3.0, 9.0]])
    found = gae(rewards, values, tensor([[1.0, 1.0, 1.0]]), gamma=1, lam=0)
    assert found.tolist() == [pytest.approx([1 - 3 - 0.5, 2 + 9 + 3.0, 4 - 9.0])]


def test_a_short_answer_has_the_advantages_that_it_has_alone() -> None:
    """Padding before it changes nothing, and has none of its own."""
    from policies.training.engines.advantages import gae

    alone = gae(tensor([[2.0, 4.0]]), tensor([[1.0, 9.0]]), tensor([[1.0, 1.0]]), gamma=0.9, lam=0.8)
    padded = gae(
        tensor([[5.0, 2.0, 4.0]]), tensor([[7.0, 1.0, 9.0]]), tensor([[0.0, 1.0, 1.0]]), gamma=0.9, lam=0.8
    )
    assert padded.tolist() == [pytest.approx([0.0, *alone[0].tolist()])]


def test_whitened_advantages_have_mean_zero_and_variance_one() -> None:
    """By hand over the four real tokens 1, 3, 5, 7: mean 4, variance 5; padding is left out and stays 0."""
    from policies.training.engines.advantages import whiten

    found = whiten(
        tensor([[1.0, 3.0], [100.0, 5.0], [7.0, 100.0]]), tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    )
    by_hand = [(value - 4) / 5**0.5 for value in (1.0, 3.0, 5.0, 7.0)]
    assert found.flatten().tolist() == pytest.approx(
        [*by_hand[:2], 0.0, by_hand[2], by_hand[3], 0.0], abs=1e-6
    )


def test_equal_advantages_teach_nothing() -> None:
    """Where nothing is better than anything else the whitened ones are 0, not noise."""
    from policies.training.engines.advantages import whiten

    assert whiten(tensor([[3.0, 3.0, 3.0]]), tensor([[1.0, 1.0, 1.0]])).tolist() == [[0.0, 0.0, 0.0]]
