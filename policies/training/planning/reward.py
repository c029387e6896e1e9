"""The plan of a training of a reward model."""

import math
from collections.abc import Iterator

from policies.policy import TrainingGuards
from policies.recipes import RewardRecipe
from policies.training.planning import rules, work
from policies.training.planning.fitting import halved
from policies.training.planning.memory import RESERVE, Memory, estimate, fits
from policies.training.planning.plan import Facts, TrainingPlan, watched
from policies.training.planning.resolved import ResolvedReward, passes_of


def decide(asked: RewardRecipe, guards: TrainingGuards, facts: Facts) -> TrainingPlan:
    """The plan. There must be a pair to learn from. The pairs of a step are the recipe's; how many of them
    are in memory at a time is what the memory there holds.
    """
    recipe = _resolved(asked, facts)
    memory, refusal = memory_of(recipe, facts), _refusal(recipe, facts)
    for smaller in _cuts(recipe):
        memory = memory_of(smaller, facts)
        if fits(memory, facts.there):
            recipe, refusal = smaller, ""
            break
    seen = recipe.steps * recipe.batch_size * recipe.gradient_accumulation / facts.lengths.pairs
    flops = 2 * seen * work.forward(facts.shape, facts.lengths.tokens)
    return watched(asked, recipe, guards, facts, memory=memory, flops=flops, refusal=refusal)


def memory_of(recipe: ResolvedReward, facts: Facts) -> Memory:
    """The peak: as for pairs under any other loss, but without logits, and nothing is sampled."""
    whole = estimate(facts.shape, facts.lengths, facts.setting, batch=recipe.batch_size, checkpointing=False)
    return whole.model_copy(update={"logits": 0, "readings": 0})


def _resolved(asked: RewardRecipe, facts: Facts) -> ResolvedReward:
    learned = facts.lengths.pairs
    if asked.folds > 1:
        learned = math.ceil(learned * (asked.folds - 1) / asked.folds)
    step = asked.batch_size * asked.gradient_accumulation
    epochs = rules.epochs_of(learned, step) if asked.epochs == "auto" else asked.epochs
    each = asked.max_steps if asked.max_steps > 0 else rules.steps_of(learned, step, epochs)
    rate = asked.learning_rate
    if rate == "auto":
        rate = rules.learning_rate_of(
            each,
            passes_of(epochs, asked.max_steps, step, learned),
            hidden=facts.shape.hidden,
            answer=rules.MEASURED_ANSWER,  # what is scored is no sum over tokens
            alpha=asked.lora.alpha,
        )
    explicit = {"epochs": epochs, "learning_rate": rate, "steps": asked.folds * each}
    return ResolvedReward(**asked.model_dump() | explicit)


def _cuts(recipe: ResolvedReward) -> Iterator[ResolvedReward]:
    """The same steps in fewer pairs at a time, the most first."""
    while True:
        yield recipe
        if recipe.batch_size == 1:
            return
        batch, accumulation = halved(recipe.batch_size, recipe.gradient_accumulation)
        recipe = recipe.model_copy(update={"batch_size": batch, "gradient_accumulation": accumulation})


def _refusal(recipe: ResolvedReward, facts: Facts) -> str:
    """Why not even one pair at a time fits."""
    least = memory_of(recipe.model_copy(update={"batch_size": 1}), facts)
    return (
        f"one pair of {facts.lengths.longest} tokens does not fit: {least} where the {facts.setting.kind} "
        f"has {(facts.there or 0) / 1e9:.1f} GB, {RESERVE:.0%} of which is left alone: lower "
        "policy.recipe.max_length (longer pairs are then left out), free memory, or choose a smaller "
        "policy.base_model (training.memory_gb overrides what is there)"
    )
