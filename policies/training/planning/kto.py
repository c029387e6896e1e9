"""The plan of a training by KTO."""

from policies.policy import TrainingGuards
from policies.recipes import KtoRecipe
from policies.training.planning import answers, work
from policies.training.planning.plan import Facts, TrainingPlan, watched
from policies.training.planning.resolved import LEAST_TOGETHER, ResolvedKto

UNTRAINED = 3
"""Passes without a way back for each in training: the reference's, and both policies' over answers that stand
behind other prompts."""


def decide(asked: KtoRecipe, guards: TrainingGuards, facts: Facts) -> TrainingPlan:
    """The plan. There must be an answer to learn from."""
    fit = answers.fit_of(asked, facts, least=LEAST_TOGETHER, uncut=True)
    recipe = ResolvedKto(
        source=asked.source,
        feedback=asked.feedback,
        thumb_up_from=asked.thumb_up_from,
        good_from=asked.good_from,
        bad_to=asked.bad_to,
        thumb_weight=asked.thumb_weight,
        score_weight=asked.score_weight,
        balance=asked.balance,
        beta=asked.beta,
        sft_weight=asked.sft_weight,
        **answers.steps_of(asked, facts, fit),
    )
    passes = recipe.passes(facts.lengths.pairs)
    run = work.steps(
        facts.shape,
        facts.lengths,
        passes=passes,
        reference_passes=UNTRAINED * passes,
        checkpointing=fit.checkpointing,
    )
    return watched(asked, recipe, guards, facts, memory=fit.memory, flops=run, refusal=fit.refusal)
