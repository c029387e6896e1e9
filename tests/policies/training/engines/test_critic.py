"""The critic: where it begins, and that it learns what answers turn out to be worth."""

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from policies.calibration import Calibration
from policies.recipes import Lora
from tests.policies.training.engines.wishes import RECIPE

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

SHAPE = Lora(r=4, alpha=8)
LINES = [Calibration(slope=2, intercept=3), Calibration(slope=1, intercept=4)]


@pytest.fixture
def written(own_base: Any, tmp_path: Path) -> Path:
    """A reward model of two folds with weights of their own, untrained."""
    import torch

    from policies.training.engines import heads, reward_model
    from policies.training.model import lora

    for number in range(2):
        model = lora.fresh(own_base, SHAPE)
        torch.manual_seed(number)
        for value in lora.trainable(model).values():
            torch.nn.init.normal_(value, std=0.2)
        fold = tmp_path / "reward" / reward_model.fold_name(number)
        lora.save(model, fold, own_base)
        heads.save(heads.fresh(32, number, own_base.device), fold)
        model.unload()
    reward_model.write_manifest(tmp_path / "reward", LINES)
    return tmp_path / "reward"


def test_it_begins_as_the_reward_model_on_its_scale(own_base: Any, written: Path) -> None:
    """Before anything is learned, the mean of what it says behind the answer's tokens is the first fold's
    calibrated score.
    """
    from policies.training.engines import reward_model
    from policies.training.engines.critic import Critic
    from policies.training.engines.roles import Roles
    from policies.training.model import lora
    from policies.training.sampling.generate import SampledAnswer

    roles = Roles(lora.fresh(own_base, SHAPE), 0)
    model = reward_model.load(roles, written, own_base)
    critic = Critic(roles, RECIPE, 1, model)
    answer = SampledAnswer((7, 8, 9), (10, 11, 1, 0), truncated=False)
    scores = model.scores([(answer.prompt, answer.tokens[:3])])
    assert critic.values([answer])[0, -3:].mean().item() == pytest.approx(2 * scores[0][0] + 3, abs=1e-4)
    before = model.scores([(answer.prompt, answer.tokens[:3])])
    for value in critic.descent.weights.values():
        value.grad = value.detach() + 1
    critic.descent.step(0.0)
    assert model.scores([(answer.prompt, answer.tokens[:3])]) == before, "the reward model does not learn"


def test_rewards_are_the_folds_means_less_their_disagreement(own_base: Any, written: Path) -> None:
    """By hand from both folds' scores, each on its own scale; no reward leaves 0 to 10."""
    from policies.training.engines import reward_model
    from policies.training.engines.roles import Roles
    from policies.training.model import lora

    model = reward_model.load(Roles(lora.fresh(own_base, SHAPE), 0), written, own_base)
    sequences = [([7, 8, 9], [10 + n, 11, 1]) for n in range(6)]
    one, other = model.scores(sequences)
    views = [(2 * a + 3, 1 * b + 4) for a, b in zip(one, other, strict=True)]
    by_hand = [(a + b) / 2 - 0.5 * abs(a - b) / 2**0.5 for a, b in views]
    assert model.rewards(sequences, 0.5) == pytest.approx([min(10, max(0, x)) for x in by_hand], abs=1e-5)
    assert len(set(by_hand)) == 6


def test_without_a_reward_model_it_expects_the_mean_of_everything(ppo_for: Callable[..., Any]) -> None:
    """At the first step every value is the mean reward, and advantages are not all one sign."""
    run = ppo_for()
    rollouts = run.collector.collect(1).rollouts
    mean = fmean(each.reward.value for each in rollouts)
    for each in rollouts:
        assert each.values.tolist() == pytest.approx([mean] * len(each.values), abs=1e-4)
    again = run.collector.collect(2).rollouts
    assert again[0].values[0].item() == pytest.approx(mean, abs=1e-4)


def test_it_learns_what_answers_were_worth(ppo_for: Callable[..., Any]) -> None:
    """On the same experience its loss falls, and the policy's weights are none of it."""
    from policies.training.engines.experience import experience
    from tests.policies.training.engines.wishes import fingerprint

    run = ppo_for(recipe=RECIPE.model_copy(update={"value_clip": 10.0}))
    learned = experience(run.collector.collect(1).rollouts, RECIPE, 0.5, run.roles.device)
    before = fingerprint(run)
    losses = [run.critic.improve(learned, key)["value_loss"] for key in range(8)]
    assert losses[-1] < 0.7 * losses[0]
    assert fingerprint(run) == before
