"""The plan of a training by PPO."""

import math
from collections.abc import Iterator

from policies.policy import TrainingGuards
from policies.recipes import PpoRecipe
from policies.training.planning import rules, work
from policies.training.planning.memory import BYTES, RESERVE, Memory, estimate, fits
from policies.training.planning.plan import Facts, TrainingPlan, watched
from policies.training.planning.resolved import ResolvedPpo

ADAPTERS = 3
"""Beside the policy's: the critic's, which is trained, and the reward model's."""
MOST_STEPS = 100
"""Of those that `auto` gives: a step costs ten times what one of DPO costs."""
LOGITS = 3
"""Tensors of one batch's logits at a time: the policy's, the reference's, and what is made from them."""


def decide(asked: PpoRecipe, guards: TrainingGuards, facts: Facts) -> TrainingPlan:
    """The plan. There must be a prompt. What is learned is the recipe's; how many answers are in memory at a
    time is what the memory there holds.
    """
    recipe = _resolved(asked, facts)
    memory, refusal = memory_of(recipe, facts), _refusal(recipe, facts)
    for smaller in _cuts(recipe):
        memory = memory_of(smaller, facts)
        if fits(memory, facts.there):
            recipe, refusal = smaller, ""
            break
    return watched(
        asked, recipe, guards, facts, memory=memory, flops=operations(recipe, facts), refusal=refusal
    )


def _resolved(asked: PpoRecipe, facts: Facts) -> ResolvedPpo:
    """What is `auto` made explicit. Steps are counted as pairs' are, and so is how far they move the policy:
    by its updates.
    """
    there = facts.lengths.pairs
    prompts = rules.batch_of(there) if asked.prompts == "auto" else asked.prompts
    steps = asked.steps
    if steps == "auto":
        learned = rules.steps_of(there, prompts, rules.epochs_of(there, prompts))
        steps = asked.critic_warmup_steps + min(learned, MOST_STEPS)
    learning = steps - asked.critic_warmup_steps
    rate = asked.learning_rate
    if rate == "auto":
        updates = learning * asked.inner_epochs * math.ceil(prompts * asked.answers / asked.minibatch)
        rate = rules.learning_rate_of(
            updates,
            learning * min(prompts, there) / there,
            hidden=facts.shape.hidden,
            answer=facts.lengths.answer,
            alpha=asked.lora.alpha,
            power=rules.NOISE_POWER,
        )
    explicit = {
        "prompts": prompts,
        "steps": steps,
        "learning_rate": rate,
        "max_new_tokens": new_tokens(asked, facts.setting.max_new_tokens),
    }
    return ResolvedPpo(**asked.model_dump() | explicit)


def new_tokens(asked: PpoRecipe, sampled: int) -> int:
    """The most tokens of an answer, where the policy's own answers have at most so many."""
    return sampled if asked.max_new_tokens == "auto" else asked.max_new_tokens


def operations(recipe: ResolvedPpo, facts: Facts) -> float:
    """Of all steps: answers sampled, read by policy, reference, critic and reward model, and learned from by
    policy and critic, each there and back.
    """
    answer = min(float(recipe.max_new_tokens), facts.lengths.answer)
    tokens = recipe.prompts * recipe.answers * (facts.lengths.prompt + answer)
    sampled = recipe.prompts * recipe.answers * work.DECODING * answer
    passes = 4 + 2 * (recipe.inner_epochs + recipe.critic_epochs)
    return recipe.steps * work.forward(facts.shape, passes * tokens + sampled)


def memory_of(recipe: ResolvedPpo, facts: Facts) -> Memory:
    """The peak: activations of the answers that are learned from together, their logits, and the keys and
    values of those that are sampled together.
    """
    shape, value = facts.shape, BYTES[facts.setting.precision]
    longest = min(recipe.max_length, facts.lengths.longest + recipe.max_new_tokens)
    lengths = facts.lengths.model_copy(update={"longest": longest})
    whole = estimate(shape, lengths, facts.setting, batch=-(-recipe.microbatch // 2), checkpointing=False)
    tokens = recipe.sampling_batch * longest
    cache = tokens * (2 * shape.layers * shape.key_value + 4 * shape.feed_forward) * value
    return whole.model_copy(
        update={
            "adapter": whole.adapter * ADAPTERS,
            "logits": LOGITS
            * recipe.microbatch
            * recipe.max_new_tokens
            * shape.vocabulary
            * BYTES["float32"],
            "readings": max(whole.readings, cache + recipe.sampling_batch * shape.vocabulary * 16),
        }
    )


def _cuts(recipe: ResolvedPpo) -> Iterator[ResolvedPpo]:
    """The same steps in fewer answers at a time, the most first."""
    while True:
        yield recipe
        if recipe.at_once == 1:
            return
        recipe = recipe.smaller()


def _refusal(recipe: ResolvedPpo, facts: Facts) -> str:
    """Why not even one answer at a time fits."""
    least = memory_of(recipe.model_copy(update={"microbatch": 1, "sampling_batch": 1}), facts)
    return (
        f"one answer does not fit: {least} where the {facts.setting.kind} has "
        f"{(facts.there or 0) / 1e9:.1f} GB, {RESERVE:.0%} of which is left alone: lower "
        "policy.recipe.max_length or max_new_tokens, free memory, or choose a smaller policy.base_model "
        "(training.memory_gb overrides what is there)"
    )
