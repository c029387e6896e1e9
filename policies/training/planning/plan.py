"""A run as it will be: every number explicit, what it needs, and why it cannot be where it cannot.

An engine decides it from recipe, guards and facts alone (DPO's rules are in `planning.dpo`). The same facts
give the same plan, and of the numbers only the cut into batches depends on the memory there.
"""

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from policies.policy import TrainingGuards
from policies.recipes import Recipe
from policies.records import Frozen
from policies.training.planning import rules, work
from policies.training.planning.memory import Memory, Setting, fits
from policies.training.planning.resolved import Resolved, ResolvedReward
from policies.training.planning.shape import Lengths, Shape

MOST_SAMPLES, LEAST_SAMPLES = 16, 8
"""Answers of a reading where the guards leave it open: fewer only where a short run would pay too much."""


class Facts(Frozen):
    """What a plan is decided from."""

    shape: Shape
    lengths: Lengths
    left_out: dict[str, NonNegativeInt] = Field(default_factory=dict)
    """What of the data cannot be learned from, by reason."""
    cut: NonNegativeInt = 0
    """Pairs whose rejected answer was cut off by a limit of length."""
    setting: Setting
    there: NonNegativeInt | None
    """Bytes that the device has for this run; None where nobody can say."""


class TrainingPlan(Frozen):
    """What a run will do. `refusal`, where it is not empty, is why it must not begin."""

    asked: Recipe
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
        """How often the guards look: at the start, every few steps, and at the end; never at a model that is
        no policy.
        """
        if isinstance(self.recipe, ResolvedReward):
            return 0
        return 1 + -(-self.recipe.steps // self.every_steps)

    def smaller(self) -> "TrainingPlan":
        """The same training with less in memory at a time. Raises ValueError where that is not possible."""
        return self.model_copy(update={"recipe": self.recipe.smaller()})

    def taken_up(self, now: "TrainingPlan") -> "TrainingPlan":
        """The plan for a run that goes on, where `now` is what would be decided at this moment: the same
        numbers, cut into other batches only where the memory there has become too little for them.
        """
        if fits(self.memory, now.facts.there):
            return self
        recipe = self.recipe.cut_as(now.recipe)
        return self.model_copy(update={"recipe": recipe, "memory": now.memory, "refusal": now.refusal})

    def __str__(self) -> str:
        return f"{self.recipe.told(self.facts.lengths)}; memory {self.memory}"


def watched(
    asked: Recipe,
    recipe: Resolved,
    guards: TrainingGuards,
    facts: Facts,
    *,
    memory: Memory,
    flops: float,
    refusal: str,
) -> TrainingPlan:
    """The plan of a run whose steps make so many operations, with as many readings as they can pay for."""
    samples = guards.samples if guards.samples != "auto" else _samples(flops, facts)
    reading = _reading(facts, samples)
    every = guards.every_steps
    if every == "auto":
        every = rules.reading_every(recipe.steps, run=flops, reading=reading)
    plan = TrainingPlan(
        asked=asked,
        recipe=recipe,
        every_steps=every,
        samples=samples,
        facts=facts,
        memory=memory,
        flops=flops,
        refusal=refusal,
    )
    return plan.model_copy(update={"flops": flops + plan.readings * reading})


def _samples(run: float, facts: Facts) -> int:
    """As many as let the least number of readings take their share of the run's time, within bounds."""
    one = _reading(facts, 1) * rules.READINGS
    affordable = int(rules.READING_SHARE * run / one) if one else MOST_SAMPLES
    return max(LEAST_SAMPLES, min(MOST_SAMPLES, affordable))


def _reading(facts: Facts, samples: int) -> float:
    return work.reading(
        facts.shape, facts.lengths, samples=samples, max_new_tokens=facts.setting.max_new_tokens
    )
