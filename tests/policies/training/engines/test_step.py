"""What one step of PPO computes, on the tiny model."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from policies.training.errors import JobError
from tests.policies.training.engines.wishes import PROMPTS, RECIPE, fingerprint, scramble

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]


def test_the_ceiling_binds_and_says_how_often(ppo_for: Callable[..., Any]) -> None:
    """Under a ceiling of 1 most rewards are 1, none is above it, and the share is a figure."""
    free, held = ppo_for("free").step(1), ppo_for("held", ceiling=1.0).step(1)
    assert free["ceiling_share"] == 0
    assert held["ceiling_share"] > 0.1
    assert held["reward"] < free["reward"]
    assert held["reward"] <= 1


def test_an_answer_that_was_cut_pays(ppo_for: Callable[..., Any]) -> None:
    """The same answers with a penalty of 4 points have 4 times the share of cut ones less."""
    plain = ppo_for("plain", RECIPE.model_copy(update={"truncation_penalty": 0.0})).step(1)
    strict = ppo_for("strict", RECIPE.model_copy(update={"truncation_penalty": 4.0})).step(1)
    assert 0 < plain["truncated_share"] < 1
    assert strict["reward"] == pytest.approx(plain["reward"] - 4 * plain["truncated_share"])


def test_answers_without_a_reward_are_left_out_and_counted(ppo_for: Callable[..., Any]) -> None:
    """Every fourth is not judged; where none is, the run ends and says so."""

    def some(answers: Sequence[Any]) -> list[float | None]:
        return [None if number % 4 == 3 else 5.0 for number in range(len(answers))]

    figures = ppo_for(verdicts=some).step(1)
    assert figures["unscored"] == 8
    with pytest.raises(JobError, match="step 1: none of 32 answers to 8 prompts has a reward"):
        ppo_for("none", verdicts=lambda answers: [None] * len(answers)).step(1)


def test_passes_end_when_the_policy_is_too_far_from_the_one_that_sampled(ppo_for: Callable[..., Any]) -> None:
    """At a limit of almost nothing it learns from the first minibatch alone, which is still at distance 0."""
    recipe = RECIPE.model_copy(update={"critic_warmup_steps": 0, "inner_epochs": 4, "warmup_steps": 0})
    free = ppo_for("free", recipe.model_copy(update={"approx_kl_limit": 1e6})).step(1)
    held = ppo_for("held", recipe.model_copy(update={"approx_kl_limit": 1e-9})).step(1)
    assert free["updates"] == 8
    assert held["updates"] == 1
    assert held["approx_kl"] > 1e-9


def test_the_bonus_raises_entropy(ppo_for: Callable[..., Any]) -> None:
    """Where all answers are worth the same only the bonus moves the policy, and on these answers it is less
    sure afterwards.
    """
    import torch

    recipe = RECIPE.model_copy(
        update={"entropy_coefficient": 1.0, "critic_warmup_steps": 0, "warmup_steps": 0}
    )
    run = ppo_for(recipe=recipe, verdicts=lambda answers: [5.0] * len(answers))
    scramble(run, size=1.0)
    learned = _experience(run)
    learned.advantages.zero_()

    def entropy() -> float:
        def of(_tokens: Any, logits: Any) -> Any:
            return torch.distributions.Categorical(logits=logits).entropy()[..., None]

        with torch.no_grad():
            return float(run.roles.passes.distributions(learned.answers).numbers(of).sum())

    most = math.log(run.roles.model.config.vocab_size) * learned.mask.sum().item()
    before = entropy()
    run.actor.improve(learned, 1.0, key=1)
    assert most - entropy() < 0.99 * (most - before)


def test_parts_of_a_minibatch_change_nothing_but_memory(ppo_for: Callable[..., Any]) -> None:
    """One answer at a time or sixteen: the same gradients, to rounding."""
    import torch

    def gradients(name: str, microbatch: int) -> list[Any]:
        run = ppo_for(name, RECIPE.model_copy(update={"microbatch": microbatch, "entropy_coefficient": 0.01}))
        scramble(run)
        learned = _experience(run)
        batch = next(learned.minibatches(16, microbatch, key=1))
        run.actor._gradients(batch)
        return [value.grad.clone() for value in run.roles.weights("default").values()]

    for one, other in zip(gradients("one", 1), gradients("all", 16), strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-6)


def _experience(run: Any, step: int = 1) -> Any:
    from policies.training.engines.experience import experience

    return experience(run.collector.collect(step).rollouts, RECIPE, 0.5, run.roles.device)


def test_stale_rollouts_count_by_how_likely_they_are_now(ppo_for: Callable[..., Any]) -> None:
    """Sampled by one policy and learned by another: the surrogate is the one computed by hand.

    Fresh rollouts have ratio 1 and lose minus the mean advantage, which whitening makes 0.
    """
    import torch

    run = ppo_for(recipe=RECIPE.model_copy(update={"clip": 0.3}))
    scramble(run)
    learned = _experience(run)
    (batch,) = learned.minibatches(len(learned.answers), 64, key=1)
    fresh = run.actor._gradients(batch)
    assert fresh.approx_kl == pytest.approx(0, abs=1e-6)
    assert fresh.loss == pytest.approx(-learned.advantages.sum().item(), abs=1e-3)
    run.actor.descent.clear()
    scramble(run, seed=1, size=0.5)
    stale = run.actor._gradients(batch)
    by_hand, clipped = 0.0, 0
    for answer, old, advantage in zip(learned.answers, learned.behaviour, learned.advantages, strict=True):
        ids = torch.tensor([answer.prompt + answer.tokens])
        with torch.no_grad():
            logps = run.roles.model(input_ids=ids).logits[0, len(answer.prompt) - 1 : -1].log_softmax(-1)
        for place, token in enumerate(answer.tokens):
            column = place - len(answer.tokens)
            ratio = math.exp(logps[place, token].item() - old[column].item())
            plain, held = (
                ratio * advantage[column].item(),
                min(max(ratio, 0.7), 1.3) * advantage[column].item(),
            )
            by_hand -= min(plain, held)
            clipped += held < plain
    assert stale.approx_kl / stale.tokens > 0.01
    assert stale.loss == pytest.approx(by_hand, rel=1e-3)
    assert stale.clipped == clipped > 0


def test_the_reference_of_a_continued_policy_is_its_parent(ppo_for: Callable[..., Any]) -> None:
    """With a frozen copy of the parent KL begins at 0, though the policy is far from the base."""

    def moved(roles: Any) -> None:
        import torch

        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for value in roles.weights("default").values():
                value.add_(0.2 * torch.randn(value.shape, generator=generator))

    def parent(roles: Any) -> None:
        moved(roles)
        roles.copy("default", "ref", trained=False)

    run = ppo_for(prepared=parent)
    assert run.step(1)["kl_sequence"] == pytest.approx(0, abs=1e-5)
    free = ppo_for("free", prepared=moved)
    assert free.step(1)["kl_sequence"] > 0.01


def test_a_prompt_is_asked_once_a_pass_however_often_it_is_given(ppo_for: Callable[..., Any]) -> None:
    """The same question twice in a step would sample the very same answers twice."""
    run = ppo_for()
    assert len(run.collector.questions) == len(PROMPTS)


def test_a_weight_that_is_not_finite_stops_at_once(ppo_for: Callable[..., Any]) -> None:
    """A critic's head that broke: its loss is no number, and neither it nor the policy is moved by it."""
    import torch

    run = ppo_for(recipe=RECIPE.model_copy(update={"critic_warmup_steps": 0}))
    run.step(1)
    before = fingerprint(run)
    with torch.no_grad():
        run.critic.head.weight[0, 0] = math.nan
    figures = run.step(2)
    assert math.isnan(figures["loss"])
    assert fingerprint(run) == before
