"""A run as it will be: every number explicit, what it needs, and why it cannot be where it cannot.

`decide` is a function of recipe, guards and facts alone. The same facts give the same plan, and of the
numbers only the cut into batches depends on the memory there.
"""

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from policies.policy import DpoRecipe, DpoTrainer, Lora, TrainingGuards
from policies.records import Frozen
from policies.training.planning import rules, work
from policies.training.planning.fitting import Fit, Room, fitted, halved
from policies.training.planning.memory import Memory, Setting, fits
from policies.training.planning.shape import Lengths, Shape

MOST_SAMPLES, LEAST_SAMPLES = 16, 8
"""Answers of a reading where the guards leave it open: fewer only where a short run would pay too much."""


class Resolved(Frozen):
    """A recipe without `auto`: what the trainer is given, and what a manifest tells."""

    method: Literal["dpo"] = "dpo"
    trainer: DpoTrainer
    lora: Lora
    beta: PositiveFloat
    sft_weight: NonNegativeFloat
    learning_rate: PositiveFloat
    epochs: PositiveFloat
    batch_size: PositiveInt
    gradient_accumulation: PositiveInt
    gradient_checkpointing: bool
    max_length: PositiveInt
    max_steps: int
    checkpoint_steps: PositiveInt
    warmup_steps: NonNegativeInt
    steps: PositiveInt
    """Optimiser steps of the whole run."""

    @property
    def reference_once(self) -> bool:
        """Whether the reference's log-probabilities are computed once, before the first step."""
        return self.epochs > 1 and self.max_steps <= 0

    def passes(self, pairs: int) -> float:
        """How often each of so many pairs is seen."""
        return passes_of(self.epochs, self.max_steps, self.batch_size * self.gradient_accumulation, pairs)


def passes_of(epochs: float, max_steps: int, step: int, pairs: int) -> float:
    """How often each pair is seen: a written number of steps goes before the epochs."""
    return max_steps * step / pairs if max_steps > 0 else epochs


class Facts(Frozen):
    """What a plan is decided from."""

    shape: Shape
    lengths: Lengths
    left_out: dict[str, NonNegativeInt] = Field(default_factory=dict)
    """Pairs that cannot be learned from, by reason."""
    cut: NonNegativeInt = 0
    """Pairs whose rejected answer was cut off by a limit of length."""
    setting: Setting
    there: NonNegativeInt | None
    """Bytes that the device has for this run; None where nobody can say."""


class Plan(Frozen):
    """What a run will do. `refusal`, where it is not empty, is why it must not begin."""

    asked: DpoRecipe
    recipe: Resolved
    every_steps: PositiveInt
    samples: PositiveInt
    facts: Facts
    memory: Memory
    flops: NonNegativeFloat
    """Floating-point operations of the whole run."""
    rate: PositiveFloat | None = None
    """Operations a second that this machine was just measured to make; None: not measured."""
    refusal: str = ""

    @property
    def readings(self) -> int:
        """How often the guards look: at the start, every few steps, and at the end."""
        return 1 + -(-self.recipe.steps // self.every_steps)

    def smaller(self) -> "Plan":
        """The same steps in batches of half the size. Raises ValueError for batches of one pair."""
        batch, accumulation = halved(self.recipe.batch_size, self.recipe.gradient_accumulation)
        cut = {"batch_size": batch, "gradient_accumulation": accumulation}
        return self.model_copy(update={"recipe": self.recipe.model_copy(update=cut)})

    def taken_up(self, now: "Plan") -> "Plan":
        """The plan for a run that goes on, where `now` is what would be decided at this moment: the same
        numbers, cut into other batches only where the memory there has become too little for them.
        """
        if fits(self.memory, now.facts.there):
            return self
        cut = ("batch_size", "gradient_accumulation", "gradient_checkpointing")
        recipe = self.recipe.model_copy(update={name: getattr(now.recipe, name) for name in cut})
        return self.model_copy(update={"recipe": recipe, "memory": now.memory, "refusal": now.refusal})

    def __str__(self) -> str:
        recipe = self.recipe
        checkpointed = " with checkpointing" if recipe.gradient_checkpointing else ""
        return (
            f"{recipe.steps} steps of {recipe.batch_size} x {recipe.gradient_accumulation} "
            f"pairs{checkpointed}, {recipe.epochs:g} epochs of {self.facts.lengths.pairs}, learning rate "
            f"{recipe.learning_rate:g}, {recipe.warmup_steps} warm-up steps; memory {self.memory}"
        )


def decide(asked: DpoRecipe, guards: TrainingGuards, facts: Facts) -> Plan:
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
    samples = guards.samples if guards.samples != "auto" else _samples(run, facts)
    reading = _reading(facts, samples)
    every = guards.every_steps
    plan = Plan(
        asked=asked,
        recipe=recipe,
        every_steps=rules.reading_every(recipe.steps, run=run, reading=reading) if every == "auto" else every,
        samples=samples,
        facts=facts,
        memory=fit.memory,
        flops=run,
        refusal=fit.refusal,
    )
    return plan.model_copy(update={"flops": run + plan.readings * reading})


def _resolved(asked: DpoRecipe, facts: Facts, fit: Fit) -> Resolved:
    pairs, step = facts.lengths.pairs, fit.batch * fit.accumulation
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
    return Resolved(
        trainer=asked.trainer,
        lora=asked.lora,
        beta=asked.beta,
        sft_weight=asked.sft_weight,
        learning_rate=rate,
        epochs=epochs,
        batch_size=fit.batch,
        gradient_accumulation=fit.accumulation,
        gradient_checkpointing=fit.checkpointing,
        max_length=asked.max_length,
        max_steps=asked.max_steps,
        checkpoint_steps=asked.checkpoint_steps,
        warmup_steps=rules.warmup_steps(asked, steps),
        steps=steps,
    )


def _samples(run: float, facts: Facts) -> int:
    """As many as let the least number of readings take their share of the run's time, within bounds."""
    one = _reading(facts, 1) * rules.READINGS
    affordable = int(rules.READING_SHARE * run / one) if one else MOST_SAMPLES
    return max(LEAST_SAMPLES, min(MOST_SAMPLES, affordable))


def _reading(facts: Facts, samples: int) -> float:
    return work.reading(
        facts.shape, facts.lengths, samples=samples, max_new_tokens=facts.setting.max_new_tokens
    )
