"""PPO's losses against hand computations, and what the ratio is for: samples of an older policy."""

import math
from typing import Any

import pytest

pytestmark = pytest.mark.training


def tensor(values: Any) -> Any:
    import torch

    return torch.tensor(values)


def surrogate(ratios: list[float], advantages: list[float], mask: list[float] | None = None) -> Any:
    """The sums of tokens whose ratios are given."""
    from policies.training.engines.clipping import policy_sums

    old = tensor([[-1.0] * len(ratios)])
    now = old + tensor([[math.log(ratio) for ratio in ratios]])
    return policy_sums(now, old, tensor([advantages]), tensor([mask or [1.0] * len(ratios)]), 0.2)


def test_the_surrogate_is_clipped_where_it_would_gain() -> None:
    """Ratios 1.5 and 0.5 with either sign of advantage: 1.2 and 0.8 hold only what would go on further."""
    assert surrogate([1.5], [2.0]).loss.item() == pytest.approx(-2.4)
    assert surrogate([1.5], [-2.0]).loss.item() == pytest.approx(3.0)
    assert surrogate([0.5], [2.0]).loss.item() == pytest.approx(-1.0)
    assert surrogate([0.5], [-2.0]).loss.item() == pytest.approx(1.6)
    assert surrogate([1.5, 1.5, 0.5, 0.5, 1.1], [2.0, -2.0, 2.0, -2.0, 1.0]).clipped.item() == 2


def test_an_unchanged_policy_has_ratio_one() -> None:
    """Its surrogate is minus the advantage, nothing is clipped, and it is at no distance from itself."""
    found = surrogate([1.0, 1.0], [0.7, -0.2])
    assert found.loss.item() == pytest.approx(-0.5)
    assert (found.clipped.item(), found.approx_kl.item()) == (0, 0)


def test_the_distance_is_schulmans_estimate() -> None:
    """(r - 1) - log r for each token, never negative."""
    assert surrogate([1.5, 0.5], [1.0, 1.0]).approx_kl.item() == pytest.approx(
        0.5 - math.log(1.5) - 0.5 - math.log(0.5), rel=1e-5
    )


def test_padding_counts_for_nothing() -> None:
    """Not even where its numbers are none."""
    from policies.training.engines.clipping import policy_sums, value_sums

    mask = tensor([[0.0, 1.0]])
    nothing = math.nan
    found = policy_sums(tensor([[nothing, -1.0]]), tensor([[-3.0, -1.0]]), tensor([[0.0, 2.0]]), mask, 0.2)
    assert found.loss.item() == pytest.approx(-2)
    worth = value_sums(tensor([[50.0, 1.0]]), tensor([[0.0, 1.0]]), tensor([[0.0, 3.0]]), mask, 2.0)
    assert worth.loss.item() == pytest.approx(2)


def test_a_value_pulls_until_it_has_left_the_old_one_by_the_clip() -> None:
    """Old 1, return 9, clip 2: a value of 2 loses (9-2)^2/2; one of 5 loses no less than 3 does, 18."""
    from policies.training.engines.clipping import value_sums

    def made(value: float) -> Any:
        return value_sums(tensor([[value]]), tensor([[1.0]]), tensor([[9.0]]), tensor([[1.0]]), 2.0)

    assert made(2.0).loss.item() == pytest.approx(24.5)
    assert made(5.0).loss.item() == pytest.approx(18)
    assert made(-5.0).loss.item() == pytest.approx(98), "what is worse than held counts as it is"
    assert (made(2.0).clipped.item(), made(5.0).clipped.item()) == (0, 1)


def test_the_ratio_makes_an_older_policys_samples_speak_for_this_one() -> None:
    """Over all samples of the older policy the gradient is that of this policy's expected advantage.

    Four tokens; the older policy has 1/2, 1/4, 1/8, 1/8, so that eight samples are its exact expectation.
    Without the ratio (log-probabilities taken for the older ones) the gradient is another one.
    """
    import torch

    from policies.training.engines.clipping import policy_sums

    samples = tensor([[0, 0, 0, 0, 1, 1, 2, 3]])
    older = tensor([0.5, 0.25, 0.125, 0.125]).log()
    advantage = tensor([1.0, -2.0, 3.0, 0.5])

    def gradient(behaviour: Any) -> Any:
        logits = tensor([0.3, -0.4, 0.9, 0.0]).requires_grad_()
        logps = logits.log_softmax(0)[samples]
        held = behaviour if behaviour is not None else logps.detach()
        sums = policy_sums(logps, held, advantage[samples], torch.ones(1, 8), clip=9.0)
        assert sums.clipped.item() == 0
        (sums.loss / 8).backward()
        return logits.grad

    logits = tensor([0.3, -0.4, 0.9, 0.0]).requires_grad_()
    (-(logits.softmax(0) * advantage).sum()).backward()
    assert torch.allclose(gradient(older[samples]), logits.grad, atol=1e-6)
    assert not torch.allclose(gradient(None), logits.grad, atol=0.05)
