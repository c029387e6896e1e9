"""Rollouts as tensors: alignment, minibatches, and which questions a step asks."""

from typing import Any

import pytest

from policies.recipes import PpoRecipe
from policies.rewards import Reward

pytestmark = pytest.mark.training

RECIPE = PpoRecipe()


def rollout(question: int, tokens: int, reward: float = 1.0, **changes: Any) -> Any:
    import torch

    from policies.training.engines.rollouts import Episode
    from policies.training.sampling.generate import SampledAnswer

    numbers = torch.arange(1, tokens + 1)
    values: dict[str, Any] = {
        "question": question,
        "answer": SampledAnswer(
            tuple(range(3 + question)), tuple(numbers.tolist()), changes.pop("truncated", False)
        ),
        "reward": Reward(reward, changes.pop("capped", False)),
        "behaviour": -numbers / 10,
        "reference": -numbers / 5,
        "values": numbers / 1.0,
        "kl": 0.5 * tokens,
        "entropy": 2.0 * tokens,
    }
    return Episode(**values | changes)


def made(rollouts: list[Any], coefficient: float = 0.5) -> Any:
    import torch

    from policies.training.engines.experience import experience

    return experience(rollouts, RECIPE, coefficient, torch.device("cpu"))


def test_answers_are_aligned_on_their_last_token() -> None:
    """Zeros before the shorter one, and nowhere a number in them."""
    found = made([rollout(0, 3), rollout(1, 1)])
    assert found.tokens.tolist() == [[1, 2, 3], [0, 0, 1]]
    assert found.mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    for padded in (found.behaviour, found.advantages, found.values, found.returns):
        assert padded[1, :2].tolist() == [0, 0]


def test_returns_are_score_and_penalties_to_come() -> None:
    """By hand at gamma = lambda = 1: score 4, each token t costs 0.5 x 0.1 t."""
    found = made([rollout(0, 3, reward=4.0)])
    assert found.returns[0].tolist() == pytest.approx([4 - 0.05 - 0.1 - 0.15, 4 - 0.1 - 0.15, 4 - 0.15])


def test_every_answer_is_in_one_minibatch_of_a_pass() -> None:
    """Seven answers in minibatches of three and parts of two: each once, no part longer than it must be."""
    found = made([rollout(n % 3, 1 + n) for n in range(7)])
    batches = list(found.minibatches(3, 2, key=5))
    seen = [len(answer.tokens) for batch in batches for part in batch.parts for answer in part.answers]
    assert sorted(seen) == [1, 2, 3, 4, 5, 6, 7]
    assert [len(batch.parts) for batch in batches] == [2, 2, 1]
    for batch in batches:
        assert batch.tokens == sum(int(part.mask.sum()) for part in batch.parts)
        for part in batch.parts:
            assert part.mask.shape == (len(part.answers), max(len(answer.tokens) for answer in part.answers))
            assert part.mask.sum(dim=1).tolist() == [len(answer.tokens) for answer in part.answers]


def test_answers_to_one_prompt_stay_together() -> None:
    """Four prompts with three answers each: every minibatch of three is one prompt's."""
    found = made([rollout(n % 4, 2 + n) for n in range(12)])
    for batch in found.minibatches(3, 3, key=1):
        assert len({answer.prompt for part in batch.parts for answer in part.answers}) == 1


def test_the_order_is_the_keys_alone() -> None:
    """Same key, same minibatches; another key, others."""
    found = made([rollout(n, 1 + n) for n in range(12)])

    def order(key: int) -> list[int]:
        return [
            len(answer.tokens)
            for batch in found.minibatches(4, 4, key)
            for part in batch.parts
            for answer in part.answers
        ]

    assert order(1) == order(1) != order(2)


def test_a_pass_asks_every_question_once() -> None:
    """Ten questions, four a step: two steps a pass, no question twice in it, and no step with one twice."""
    from policies.training.engines.collector import chosen

    steps = [chosen(10, 4, step, seed=3) for step in range(1, 21)]
    assert all(len(set(asked)) == 4 for asked in steps)
    for first, second in zip(steps[::2], steps[1::2], strict=True):
        assert len({*first, *second}) == 8
    assert {index for asked in steps for index in asked} == set(range(10)), "who was left out has its turn"
    assert sorted(chosen(3, 16, 7, seed=3)) == [0, 1, 2]
    assert chosen(10, 4, 5, seed=3) == steps[4]


def test_figures_are_means_over_answers_tokens_and_prompts() -> None:
    """By hand: two prompts with two answers each, one answer capped, one cut."""
    from policies.training.engines.rollouts import Collected, figures

    rollouts = [
        rollout(0, 1, 2.0),
        rollout(0, 3, 4.0, capped=True),
        rollout(1, 2, 5.0, truncated=True),
        rollout(1, 2, 5.0),
    ]
    found = figures(Collected(rollouts, refused=1, unscored=2))
    assert found["reward"] == 4
    assert found["reward_sd"] == pytest.approx(1.5**0.5)
    assert found["reward_spread"] == pytest.approx(0.5)
    assert "reward_spread" not in figures(Collected(rollouts[:1], refused=0, unscored=0))
    assert (found["ceiling_share"], found["truncated_share"]) == (0.25, 0.25)
    assert (found["kl_sequence"], found["kl_token"], found["entropy"]) == (1.0, 0.5, 2.0)
    assert (found["answer_tokens"], found["refused"], found["unscored"]) == (2, 1, 2)
