"""The coefficient of KL: how it moves, and how far."""

import pytest

from policies.training.engines.penalty import Penalty

START = Penalty(0.5, first=0.5, target=4.0, gain=0.5)


def test_at_the_target_it_stays() -> None:
    """A KL that is right changes nothing."""
    assert START.after(4.0) == START


def test_it_moves_in_proportion_to_the_error() -> None:
    """10 % above the target at gain 0.5: 5 % more; 10 % below: 5 % less."""
    assert START.after(4.4).coefficient == pytest.approx(0.5 * 1.05)
    assert START.after(3.6).coefficient == pytest.approx(0.5 * 0.95)


def test_one_measurement_counts_for_a_fifth_at_most() -> None:
    """However far off a KL is, the coefficient changes by 0.2 times the gain."""
    assert START.after(400).coefficient == pytest.approx(0.5 * 1.1)
    assert START.after(0).coefficient == pytest.approx(0.5 * 0.9)


def test_it_rises_without_end_and_falls_to_a_tenth() -> None:
    """A policy that has not moved yet does not make KL free; one that runs away pays ever more."""
    low = high = START
    for _ in range(100):
        low, high = low.after(0.0), high.after(40.0)
    assert low.coefficient == pytest.approx(0.05)
    assert high.coefficient > 1000


def test_without_a_gain_it_is_fixed() -> None:
    """Gain 0 is plain PPO with a fixed penalty."""
    fixed = Penalty(0.5, first=0.5, target=4.0, gain=0.0)
    assert fixed.after(40) == fixed
