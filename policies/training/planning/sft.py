"""The plan of a supervised fine-tuning."""

from policies.policy import TrainingGuards
from policies.recipes import SftRecipe
from policies.training.planning import answers, work
from policies.training.planning.plan import Facts, TrainingPlan, watched
from policies.training.planning.resolved import ResolvedSft


def decide(asked: SftRecipe, guards: TrainingGuards, facts: Facts) -> TrainingPlan:
    """The plan. There must be an answer to learn from."""
    fit = answers.fit_of(asked, facts)
    recipe = ResolvedSft(
        targets=asked.targets,
        min_reward=asked.min_reward,
        correction_weight=asked.correction_weight,
        **answers.steps_of(asked, facts, fit),
    )
    run = work.steps(
        facts.shape,
        facts.lengths,
        passes=recipe.passes(facts.lengths.pairs),
        reference_passes=0,
        checkpointing=fit.checkpointing,
    )
    return watched(asked, recipe, guards, facts, memory=fit.memory, flops=run, refusal=fit.refusal)
