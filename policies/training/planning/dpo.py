"""The plan of a training by DPO."""

from policies.policy import TrainingGuards
from policies.recipes import DpoRecipe
from policies.training.planning import rules, work
from policies.training.planning.fitting import Fit, Room, fitted
from policies.training.planning.plan import Facts, TrainingPlan, watched
from policies.training.planning.resolved import ResolvedDpo, passes_of


def decide(asked: DpoRecipe, guards: TrainingGuards, facts: Facts) -> TrainingPlan:
    """The plan. There must be a pair to learn from."""
    fit = fitted(asked, Room(facts.shape, facts.lengths, facts.setting, facts.there))
    recipe = _resolved(asked, facts, fit)
    passes = recipe.passes(facts.lengths.pairs)
    run = work.steps(
        facts.shape,
        facts.lengths,
        passes=passes,
        reference_passes=1 if recipe.reference_once else passes,
        checkpointing=fit.checkpointing,
    )
    return watched(asked, recipe, guards, facts, memory=fit.memory, flops=run, refusal=fit.refusal)


def _resolved(asked: DpoRecipe, facts: Facts, fit: Fit) -> ResolvedDpo:
    pairs, step = facts.lengths.pairs, fit.batch * fit.accumulation * facts.setting.processes
    epochs = rules.epochs_of(pairs, step) if asked.epochs == "auto" else asked.epochs
    steps = asked.max_steps if asked.max_steps > 0 else rules.steps_of(pairs, step, epochs)
    rate = asked.learning_rate
    if rate == "auto":
        rate = rules.learning_rate_of(
            steps,
            passes_of(epochs, asked.max_steps, step, pairs),
            hidden=facts.shape.hidden,
            answer=facts.lengths.answer,
            alpha=asked.lora.alpha,
        )
    return ResolvedDpo(
        trainer=asked.trainer,
        lora=asked.lora,
        beta=asked.beta,
        sft_weight=asked.sft_weight,
        learning_rate=rate,
        epochs=epochs,
        batch_size=fit.batch,
        gradient_accumulation=fit.accumulation,
        processes=facts.setting.processes,
        gradient_checkpointing=fit.checkpointing,
        max_length=asked.max_length,
        max_steps=asked.max_steps,
        checkpoint_steps=asked.checkpoint_steps,
        warmup_steps=rules.warmup_steps(asked, steps),
        steps=steps,
    )
