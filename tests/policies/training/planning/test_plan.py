"""Whole plans: a golden table, what was asked and what was decided, and a plan that goes on."""

import pytest

from policies.policy import TrainingGuards
from policies.recipes import DpoRecipe, Lora
from policies.training.planning.dpo import decide
from policies.training.planning.fitting import divided
from policies.training.planning.plan import TrainingPlan
from policies.training.planning.resolved import ResolvedDpo
from tests.policies.training.planning.facts import EIGHT, GB, dpo, facts, plan

COLUMNS = (
    "batch_size",
    "gradient_accumulation",
    "epochs",
    "steps",
    "learning_rate",
    "warmup_steps",
)
GOLDEN = {
    1: (1, 1, 24, 24, 8.7e-5, 0, 8, 8),
    5: (1, 1, 5, 25, 1.8e-4, 0, 9, 8),
    16: (4, 1, 6, 24, 1.7e-4, 0, 8, 8),
    45: (4, 1, 2, 24, 3e-4, 0, 8, 8),
    64: (4, 2, 3, 24, 2.4e-4, 0, 8, 8),
    200: (4, 2, 2, 50, 1.5e-4, 5, 17, 16),
    500: (4, 2, 1, 63, 1.3e-4, 7, 21, 16),
    1000: (4, 2, 1, 125, 6.8e-5, 10, 25, 16),
    5000: (4, 4, 1, 313, 3e-5, 10, 27, 16),
    20_000: (4, 8, 1, 625, 1.6e-5, 10, 25, 16),
}
"""Pairs of 148 tokens on SmolLM2-135M: the columns above, then the guards' steps and samples."""
GOLDEN_EIGHT = {
    16: (4, 1, 6, 24, 6.5e-5, 0, 8, 8),
    200: (8, 1, 2, 50, 5.8e-5, 5, 17, 15),
    5000: (16, 1, 1, 313, 1.1e-5, 10, 27, 16),
}
"""The same on Llama 3.1 8B and a card of 80 GB."""


def row(found: TrainingPlan) -> tuple[object, ...]:
    return (*(getattr(found.recipe, name) for name in COLUMNS), found.every_steps, found.samples)


@pytest.mark.parametrize("pairs", GOLDEN)
def test_the_default_recipe_of_a_small_model(pairs: int) -> None:
    """A change of a default is seen here."""
    assert row(plan(pairs)) == GOLDEN[pairs]


@pytest.mark.parametrize("pairs", GOLDEN_EIGHT)
def test_the_default_recipe_of_a_model_of_ordinary_size(pairs: int) -> None:
    """The rate is lower, and a card takes the pairs of a step at once."""
    assert row(plan(pairs, shape=EIGHT, kind="cuda", there=80 * GB)) == GOLDEN_EIGHT[pairs]


def test_what_is_written_is_what_is_done() -> None:
    """Every number of an explicit recipe comes through as it is, and so do the guards'."""
    recipe = DpoRecipe(
        lora=Lora(r=4, alpha=8), beta=0.3, sft_weight=2.0, learning_rate=1e-3, epochs=4, batch_size=16,
        gradient_accumulation=2, max_length=256, gradient_checkpointing=True, checkpoint_steps=9,
        warmup_ratio=0.1,
    )  # fmt: skip
    found = decide(recipe, TrainingGuards(every_steps=40, samples=3), facts(100))
    assert found.recipe == ResolvedDpo(
        trainer="shared",
        lora=Lora(r=4, alpha=8), beta=0.3, sft_weight=2.0, learning_rate=1e-3, epochs=4, batch_size=16,
        gradient_accumulation=2, max_length=256, gradient_checkpointing=True, checkpoint_steps=9,
        warmup_steps=2, steps=16, max_steps=-1,
    )  # fmt: skip
    assert (found.every_steps, found.samples, found.asked) == (40, 3, recipe)


def test_the_rate_follows_the_steps_that_are_made() -> None:
    """A written number of epochs or steps changes it; a written batch gives the epochs that reach the
    least.
    """
    assert plan(5000, DpoRecipe(max_steps=30)).recipe.learning_rate == 2.5e-4
    assert plan(200, DpoRecipe(epochs=20)).recipe.learning_rate == 6.2e-6
    few = dpo(plan(16, DpoRecipe(batch_size=8)))
    assert (few.steps, few.epochs) == (24, 12)


def test_a_run_of_several_epochs_computes_its_reference_once() -> None:
    """It is then counted once in the time that is estimated."""
    assert dpo(plan(200)).reference_once
    assert not dpo(plan(5000)).reference_once
    assert not dpo(plan(200, DpoRecipe(max_steps=10))).reference_once
    once, twice = plan(200, DpoRecipe(epochs=2)), plan(200, DpoRecipe(epochs=4))
    assert twice.flops < 2 * once.flops


def test_a_plan_survives_json() -> None:
    """What the child writes is what the next one reads."""
    found = plan(200)
    assert TrainingPlan.model_validate_json(found.model_dump_json()) == found


def test_a_run_that_goes_on_keeps_its_numbers() -> None:
    """Other memory, and other rules, change nothing; too little memory cuts the same steps smaller."""
    begun = plan(200).model_copy(update={"every_steps": 3})
    begun = begun.model_copy(update={"recipe": begun.recipe.model_copy(update={"learning_rate": 5e-5})})
    assert begun.taken_up(plan(200, there=500 * GB)) == begun
    less = begun.taken_up(plan(200, there=3 * GB))
    assert (dpo(less).batch_size, dpo(less).gradient_accumulation) == (1, 8)
    assert (less.recipe.learning_rate, less.every_steps, less.refusal) == (5e-5, 3, "")
    assert begun.taken_up(plan(200, there=1 * GB)).refusal != ""


def test_the_same_training_in_smaller_batches() -> None:
    """Where a device was full after all."""
    smaller = plan(200).smaller()
    assert (dpo(smaller).batch_size, dpo(smaller).gradient_accumulation) == (2, 4)
    assert smaller.recipe.steps == plan(200).recipe.steps


def test_a_plan_is_said_in_one_line() -> None:
    """For the log and the progress of a run."""
    assert str(plan(200)) == (
        "50 steps of 4 x 2 pairs, 2 epochs of 200, learning rate 0.00015, 5 warm-up steps; memory 4.6 GB "
        "(weights 0.5, adapter 0.1, activations 1.6, logits 1.4, readings 0.8, process 0.9)"
    )


@pytest.mark.parametrize(
    ("whole", "processes", "each"),
    [((4, 2), 2, (4, 1)), ((8, 1), 2, (4, 1)), ((4, 4), 2, (4, 2)), ((6, 2), 4, (3, 1)), ((3, 1), 2, None)],
)
def test_a_step_is_divided_into_equal_shares(
    whole: tuple[int, int], processes: int, each: tuple[int, int] | None
) -> None:
    """The accumulation first, so that the batches stay; what has no equal shares is not divided."""
    assert divided(*whole, processes) == each


def test_processes_change_the_cut_of_a_plan_and_nothing_that_is_learned() -> None:
    """Pairs of a step, steps and rate are those of one process; the plan says who makes how much."""
    alone = facts(200)
    shared = alone.model_copy(update={"setting": alone.setting.model_copy(update={"processes": 2})})
    one, two = (decide(DpoRecipe(), TrainingGuards(), each) for each in (alone, shared))
    assert (one.refusal, two.refusal) == ("", "")
    first, second = dpo(one), dpo(two)
    assert (first.step, first.steps) == (second.step, second.steps)
    assert first.learning_rate == second.learning_rate
    assert second.batch_size * second.gradient_accumulation * 2 == first.step
    assert "pairs in each of 2 processes" in str(two)
    odd = decide(DpoRecipe(batch_size=3), TrainingGuards(), shared)
    assert odd.refusal == (
        "a step of 3 pairs cannot be divided among 2 processes: set training.launch.processes to a divisor, "
        "or policy.recipe.batch_size to a multiple"
    )
