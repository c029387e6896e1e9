"""Recipes without `auto`: what an engine is given, and what a manifest tells.

Every method has one of its own, and `Resolved` is their union. What a plan asks of each is in `Explicit`.
"""

from typing import Annotated, Literal, Protocol, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from policies.recipes import DpoTrainer, KtoSource, Lora, PpoRecipe, RewardRecipe, SftTargets
from policies.records import Frozen
from policies.training.planning.fitting import halved
from policies.training.planning.shape import Lengths

LEAST_TOGETHER = 2
"""Answers of a batch of KTO's."""


class Explicit(Protocol):
    """What a plan must know of a resolved recipe, whatever its method."""

    @property
    def method(self) -> str:
        """The method's name."""

    @property
    def lora(self) -> Lora:
        """The adapter's shape."""

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""

    @property
    def max_length(self) -> int:
        """Tokens of the longest sequence that is taken."""

    @property
    def unit(self) -> str:
        """What is learned from, in the plural."""

    @property
    def at_once(self) -> int:
        """How many of these are in memory together."""

    def smaller(self) -> Self:
        """The same training with at most half as much in memory. Raises ValueError where that cannot be."""

    def cut_as(self, other: "Explicit") -> Self:
        """The same training, cut into pieces as another plan for it cuts them."""

    def told(self, lengths: Lengths) -> str:
        """In one line, for the log."""

    def rows(self) -> list[tuple[str, str]]:
        """For a person: each thing that was decided, with its name."""


class ResolvedDpo(Frozen):
    """DPO's."""

    method: Literal["dpo"] = "dpo"
    trainer: DpoTrainer
    lora: Lora
    beta: PositiveFloat
    sft_weight: NonNegativeFloat
    learning_rate: NonNegativeFloat
    epochs: PositiveFloat
    batch_size: PositiveInt
    gradient_accumulation: PositiveInt
    processes: PositiveInt = 1
    """Each makes `gradient_accumulation` batches of a step."""
    gradient_checkpointing: bool
    max_length: PositiveInt
    max_steps: int
    checkpoint_steps: PositiveInt
    warmup_steps: NonNegativeInt
    steps: PositiveInt
    """Optimiser steps of the whole run."""

    @property
    def unit(self) -> str:
        """Pairs."""
        return "pairs"

    @property
    def at_once(self) -> int:
        """Pairs in memory at a time."""
        return self.batch_size

    @property
    def step(self) -> int:
        """Pairs of an optimiser step."""
        return self.batch_size * self.gradient_accumulation * self.processes

    @property
    def _cut(self) -> str:
        each = f" in each of {self.processes} processes" if self.processes > 1 else ""
        return f"{self.batch_size} x {self.gradient_accumulation} pairs{each}"

    @property
    def reference_once(self) -> bool:
        """Whether the reference's log-probabilities are computed once, before the first step."""
        return self.epochs > 1 and self.max_steps <= 0

    def passes(self, pairs: int) -> float:
        """How often each of so many pairs is seen."""
        return passes_of(self.epochs, self.max_steps, self.step, pairs)

    def smaller(self) -> "ResolvedDpo":
        """The same steps in batches of half the size. Raises ValueError for batches of one pair."""
        batch, accumulation = halved(self.batch_size, self.gradient_accumulation)
        return self.model_copy(update={"batch_size": batch, "gradient_accumulation": accumulation})

    def cut_as(self, other: Explicit) -> "ResolvedDpo":
        """The same numbers in the other's batches."""
        cut = ("batch_size", "gradient_accumulation", "gradient_checkpointing")
        return self.model_copy(update={name: getattr(other, name) for name in cut})

    def told(self, lengths: Lengths) -> str:
        """Steps, batches, epochs and rate."""
        checkpointed = " with checkpointing" if self.gradient_checkpointing else ""
        return (
            f"{self.steps} steps of {self._cut}{checkpointed}, {self.epochs:g} epochs of {lengths.pairs}, "
            f"learning rate {self.learning_rate:g}, {self.warmup_steps} warm-up steps"
        )

    def rows(self) -> list[tuple[str, str]]:
        """Rate, epochs and batch."""
        checkpointing = "with" if self.gradient_checkpointing else "without"
        return [
            ("learning rate", f"{self.learning_rate:g}, {self.warmup_steps} warm-up steps"),
            ("epochs", f"{self.epochs:g}"),
            ("batch", f"{self._cut}, {checkpointing} checkpointing"),
        ]


class ResolvedReward(RewardRecipe):
    """A reward model's: what was asked, with its rate and epochs, cut into batches."""

    learning_rate: NonNegativeFloat
    epochs: PositiveFloat
    steps: PositiveInt
    """Optimiser steps of all folds."""

    @property
    def unit(self) -> str:
        """Pairs."""
        return "pairs"

    @property
    def at_once(self) -> int:
        """Pairs in memory at a time."""
        return self.batch_size

    def smaller(self) -> "ResolvedReward":
        """The same steps in batches of half the size. Raises ValueError for batches of one pair."""
        batch, accumulation = halved(self.batch_size, self.gradient_accumulation)
        return self.model_copy(update={"batch_size": batch, "gradient_accumulation": accumulation})

    def cut_as(self, other: Explicit) -> "ResolvedReward":
        """The same numbers in the other's batches."""
        cut = ("batch_size", "gradient_accumulation")
        return self.model_copy(update={name: getattr(other, name) for name in cut})

    def told(self, lengths: Lengths) -> str:
        """Steps, batches, folds and rate."""
        return (
            f"{self.steps} steps of {self.batch_size} x {self.gradient_accumulation} pairs, {self.folds} "
            f"folds, {self.epochs:g} epochs of {lengths.pairs}, learning rate {self.learning_rate:g}"
        )

    def rows(self) -> list[tuple[str, str]]:
        """Rate, folds, epochs and batch."""
        return [
            ("learning rate", f"{self.learning_rate:g}, {self.warmup_ratio:.0%} of the steps warm up"),
            ("folds", str(self.folds)),
            ("epochs", f"{self.epochs:g}"),
            ("batch", f"{self.batch_size} x {self.gradient_accumulation} pairs"),
        ]


class ResolvedPpo(PpoRecipe):
    """PPO's: what was asked, with all its numbers, and with so many answers in memory at a time."""

    steps: PositiveInt
    prompts: PositiveInt
    max_new_tokens: PositiveInt
    learning_rate: NonNegativeFloat

    @property
    def unit(self) -> str:
        """Prompts."""
        return "prompts"

    @property
    def at_once(self) -> int:
        """Answers in memory at a time, in learning or in sampling, whichever are more."""
        return max(self.microbatch, self.sampling_batch)

    def smaller(self) -> "ResolvedPpo":
        """The same training with half as many answers in memory, in learning and in sampling."""
        if self.at_once == 1:
            raise ValueError("one answer at a time cannot be halved")
        half = {name: max(1, getattr(self, name) // 2) for name in ("microbatch", "sampling_batch")}
        return self.model_copy(update=half)

    def cut_as(self, other: Explicit) -> "ResolvedPpo":
        """The same numbers with as much in memory as the other has."""
        cut = ("microbatch", "sampling_batch")
        return self.model_copy(update={name: getattr(other, name) for name in cut})

    def told(self, lengths: Lengths) -> str:
        """Steps, answers, prompts and rate."""
        return (
            f"{self.steps} steps of {self.prompts} x {self.answers} answers of up to {self.max_new_tokens} "
            f"tokens, {self.microbatch} at a time, {lengths.pairs} prompts, learning rate "
            f"{self.learning_rate:g}, KL near {self.kl_target:g} nats"
        )

    def rows(self) -> list[tuple[str, str]]:
        """Rate, answers of a step, KL, and ceiling."""
        return [
            ("learning rate", f"{self.learning_rate:g}, {self.warmup_steps} warm-up steps"),
            ("answers", f"{self.prompts} x {self.answers} a step, of up to {self.max_new_tokens} tokens"),
            (
                "batch",
                f"{self.microbatch} answers of {self.minibatch}, sampled {self.sampling_batch} at a time",
            ),
            ("KL", f"steered to {self.kl_target:g} nats a sequence"),
            ("ceiling", str(self.ceiling)),
        ]


class _Answers(Frozen):
    """What methods on single answers have in common."""

    lora: Lora
    learning_rate: NonNegativeFloat
    epochs: PositiveFloat
    batch_size: PositiveInt
    gradient_accumulation: PositiveInt
    processes: PositiveInt = 1
    """Each makes `gradient_accumulation` batches of a step."""
    gradient_checkpointing: bool
    max_length: PositiveInt
    max_steps: int
    checkpoint_steps: PositiveInt
    warmup_steps: NonNegativeInt
    steps: PositiveInt
    """Optimiser steps of the whole run."""

    @property
    def unit(self) -> str:
        """Answers."""
        return "answers"

    @property
    def at_once(self) -> int:
        """Answers in memory at a time."""
        return self.batch_size

    def passes(self, answers: int) -> float:
        """How often each of so many answers is seen."""
        step = self.batch_size * self.gradient_accumulation * self.processes
        return passes_of(self.epochs, self.max_steps, step, answers)

    @property
    def _cut(self) -> str:
        each = f" in each of {self.processes} processes" if self.processes > 1 else ""
        return f"{self.batch_size} x {self.gradient_accumulation} answers{each}"

    def smaller(self) -> Self:
        """The same steps in batches of half the size. Raises ValueError where they cannot be cut further."""
        batch, accumulation = halved(self.batch_size, self.gradient_accumulation)
        return self.model_copy(update={"batch_size": batch, "gradient_accumulation": accumulation})

    def cut_as(self, other: Explicit) -> Self:
        """The same numbers in the other's batches."""
        cut = ("batch_size", "gradient_accumulation", "gradient_checkpointing")
        return self.model_copy(update={name: getattr(other, name) for name in cut})

    def told(self, lengths: Lengths) -> str:
        """Steps, batches, epochs and rate."""
        checkpointed = " with checkpointing" if self.gradient_checkpointing else ""
        return (
            f"{self.steps} steps of {self._cut}{checkpointed}, {self.epochs:g} epochs of {lengths.pairs}, "
            f"learning rate {self.learning_rate:g}, {self.warmup_steps} warm-up steps"
        )

    def rows(self) -> list[tuple[str, str]]:
        """Rate, epochs and batch."""
        checkpointing = "with" if self.gradient_checkpointing else "without"
        return [
            ("learning rate", f"{self.learning_rate:g}, {self.warmup_steps} warm-up steps"),
            ("epochs", f"{self.epochs:g}"),
            ("batch", f"{self._cut}, {checkpointing} checkpointing"),
        ]


class ResolvedSft(_Answers):
    """Supervised fine-tuning's."""

    method: Literal["sft"] = "sft"
    targets: SftTargets
    min_reward: NonNegativeFloat
    correction_weight: PositiveFloat


class ResolvedKto(_Answers):
    """KTO's."""

    method: Literal["kto"] = "kto"
    source: KtoSource
    feedback: tuple[str, ...]
    thumb_up_from: float
    good_from: NonNegativeFloat
    bad_to: NonNegativeFloat
    thumb_weight: NonNegativeFloat
    score_weight: NonNegativeFloat
    balance: bool
    beta: PositiveFloat
    sft_weight: NonNegativeFloat

    def smaller(self) -> Self:
        """As for all, but never one answer by itself: KL is estimated across those of a batch."""
        cut = super().smaller()
        if cut.batch_size < LEAST_TOGETHER:
            raise ValueError(f"KTO needs batches of {LEAST_TOGETHER} answers at least")
        return cut


Resolved = Annotated[
    ResolvedDpo | ResolvedReward | ResolvedPpo | ResolvedSft | ResolvedKto, Field(discriminator="method")
]
"""What a plan may hold: a union on `method`, as `Recipe` is."""


def passes_of(epochs: float, max_steps: int, step: int, pairs: int) -> float:
    """How often each pair is seen: a written number of steps goes before the epochs."""
    return max_steps * step / pairs if max_steps > 0 else epochs
