"""The numbers that `auto` stands for: enough steps, a rate that fits them, and no step without one."""

import pytest

from policies.recipes import DpoRecipe
from policies.training.engines.schedule import factor
from policies.training.planning import rules

COUNTS = [*range(1, 70), 99, 127, 128, 199, 200, 499, 500, 999, 1999, 2000, 5000, 9999, 10_000, 20_000, 10**6]


@pytest.mark.parametrize("pairs", COUNTS)
def test_auto_never_gives_fewer_than_the_least_steps(pairs: int) -> None:
    """Whatever the number of pairs; and never more than twice as many where the pairs are few."""
    batch = rules.batch_of(pairs)
    epochs = rules.epochs_of(pairs, batch)
    steps = rules.steps_of(pairs, batch, epochs)
    assert steps >= rules.LEAST_STEPS
    assert epochs == int(epochs)
    if pairs < rules.LEAST_STEPS:
        assert steps < 2 * rules.LEAST_STEPS


@pytest.mark.parametrize("pairs", COUNTS[:-1])
def test_the_weights_move_about_as_far_whatever_the_number_of_pairs(pairs: int) -> None:
    """The sum of all steps' rates is that of the measured run to a half more; pairs that are seen more often
    than there move less far, down to a quarter.
    """
    batch = rules.batch_of(pairs)
    epochs = rules.epochs_of(pairs, batch)
    steps = rules.steps_of(pairs, batch, epochs)
    rate = rules.learning_rate_of(steps, epochs, hidden=576, answer=48, alpha=32)
    warmup = rules.warmup_of(steps)
    moved = rate * sum(factor(step, warmup=warmup, steps=steps) for step in range(steps))
    measured = 3e-4 * sum(factor(step, warmup=0, steps=24) for step in range(24))
    assert (0.9 if epochs <= 2 else 0.25) < moved / measured < 1.5


def test_a_larger_base_and_longer_answers_move_slower() -> None:
    """Each halves the rate at four times the size; so do alpha at twice its size and eight epochs; bounds
    hold.
    """

    def rate(steps: int = 24, epochs: float = 2, **sizes: int) -> float:
        return rules.learning_rate_of(steps, epochs, **({"hidden": 576, "answer": 48, "alpha": 32} | sizes))

    assert rate() == rate(epochs=1) == 3e-4
    for halved in (rate(hidden=4 * 576), rate(answer=4 * 48), rate(alpha=64), rate(epochs=8)):
        assert halved == pytest.approx(1.5e-4)
    assert rate(10**7, hidden=8192, answer=4096) == rules.RATES[0]
    assert rate(1, hidden=32, answer=1, alpha=1) == rules.RATES[1]


@pytest.mark.parametrize("steps", [1, 2, 3, 6, 24, 39, 40, 41, 100, 313])
@pytest.mark.parametrize("ratio", ["auto", 0.0, 0.01, 0.1, 0.5, 1.0])
def test_no_step_is_made_at_rate_zero(steps: int, ratio: float | str) -> None:
    """The first step of a warm-up has its part, the last of the cosine too; the highest rate is the
    recipe's.
    """
    warmup = rules.warmup_steps(DpoRecipe.model_validate({"warmup_ratio": ratio}), steps)
    factors = [factor(step, warmup=warmup, steps=steps) for step in range(steps)]
    assert all(0 < each <= 1 for each in factors)
    assert factors[0] == pytest.approx(1 / (warmup + 1))
    if warmup < steps:
        assert max(factors) == factors[warmup] == 1
        assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    assert factor(steps, warmup=min(warmup, steps - 1), steps=steps) == pytest.approx(0, abs=1e-9)


def test_tiny_runs_have_no_warm_up() -> None:
    """A first training of 24 steps has none to give away; a long one warms up for ten steps at most."""
    assert [rules.warmup_of(steps) for steps in (1, 24, 39, 40, 99, 100, 1000)] == [0, 0, 0, 4, 10, 10, 10]


def test_a_recipe_whose_value_is_no_number_is_refused_in_one_line() -> None:
    """Not one complaint for each kind of value that a key may have."""
    with pytest.raises(ValueError, match="1 validation error") as error:
        DpoRecipe.model_validate({"learning_rate": "fast"})
    assert "neither auto nor valid: Input should be a valid number" in str(error.value)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 24, 50, 74, 75, 99, 313, 5000])
@pytest.mark.parametrize("reading", [0.0, 0.01, 1.0, 30.0, 1e9])
def test_the_guards_look_four_times_at_least_and_cost_a_tenth_beyond(steps: int, reading: float) -> None:
    """Readings at the start and the end count; above four they take a tenth of the run, one in 25 steps at
    most.
    """
    every = rules.reading_every(steps, run=steps, reading=reading)
    between = -(-steps // every) - 1
    assert 1 <= every <= steps
    assert 2 + between >= min(4, 1 + steps)
    if between > 2:
        assert between * reading <= rules.READING_SHARE * steps
        assert every >= rules.READING_EVERY
