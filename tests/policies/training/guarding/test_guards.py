"""The guards' decisions, from numbers alone."""

import pytest

from policies.policy import Guard, TrainingGuards
from policies.training.guarding import guards
from policies.training.jobs import GuardReading

LIMITS = TrainingGuards()


def reading(*, kl: float = 0.0, entropy: float = 1.0) -> GuardReading:
    return GuardReading(step=1, kl_sequence=kl, kl_token=kl / 10, entropy=entropy, chosen_drift=0.0)


def names(found: list[guards.Breach]) -> list[str]:
    return [breach.guard for breach in found]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_always_stops(bad: float) -> None:
    """No mode lets a non-finite loss or gradient pass."""
    assert names(guards.check_step(bad, 1.0, [], LIMITS)) == ["finite_loss"]
    assert names(guards.check_step(1.0, bad, [], LIMITS)) == ["finite_gradient"]
    assert guards.enforced(guards.check_step(bad, 1.0, [], LIMITS)) is not None


def test_chosen_answers_that_become_unlikely_stop_the_run() -> None:
    """The mean fall over the last five steps counts: one bad batch does not, and four are too few."""
    fallen = [-16.0] * guards.WINDOW
    assert names(guards.check_step(1, 1, fallen, LIMITS)) == ["chosen_logp_drop_nats"]
    assert guards.check_step(1, 1, fallen[:-1], LIMITS) == []
    assert guards.check_step(1, 1, [0, 0, 0, 0, -60], LIMITS) == []
    assert guards.check_step(1, 1, [-60, 0, 0, 0, 0, 0], LIMITS) == []


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (reading(kl=19.9), []),
        (reading(kl=20.1), ["kl_nats"]),
        (reading(kl=float("nan")), ["kl_nats"]),
        (reading(entropy=3.1), ["entropy_high_ratio"]),
        (reading(entropy=0.29), ["entropy_low_ratio"]),
        (reading(kl=140, entropy=3.5), ["kl_nats", "entropy_high_ratio"]),
    ],
)
def test_fresh_samples_are_held_against_the_limits(now: GuardReading, expected: list[str]) -> None:
    """KL per sequence has a ceiling; entropy has a band around the first measurement."""
    assert names(guards.check_sample(reading(), now, LIMITS)) == expected


def test_the_reason_names_figure_and_limit() -> None:
    """What stopped the run can be read from the reason."""
    found = guards.check_sample(reading(), reading(kl=140.4), LIMITS)
    assert guards.enforced(found) == "kl_nats 140 nats per sequence is above 20"


def test_a_dry_run_never_stops() -> None:
    """A breach of a guard on dry run is found, and not enforced."""
    limits = LIMITS.model_copy(update={"kl_nats": Guard(limit=1, mode="dry_run")})
    found = guards.check_sample(reading(), reading(kl=5), limits)
    assert names(found) == ["kl_nats"]
    assert guards.enforced(found) is None
