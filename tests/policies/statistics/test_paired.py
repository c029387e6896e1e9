"""Tango's bounds for paired shares, against what can be worked out by hand and by simulation."""

import random

import pytest

from policies.statistics.paired import lower_bound, upper_bound


def test_without_a_case_that_tells_them_apart_the_bound_is_that_of_their_number() -> None:
    """By hand: the bound d solves n d / (1 - d) = 1.645^2, so -z^2 / (n + z^2)."""
    z2 = 1.6448536**2
    for n in (10, 52, 400):
        assert lower_bound(0, 0, n) == pytest.approx(-z2 / (n + z2), abs=1e-5)


def test_with_many_cases_it_is_the_usual_bound() -> None:
    """At 10,000 cases the score bound and that of the normal approximation are the same to a thousandth."""
    first, second, n = 900, 800, 10_000
    share = (first - second) / n
    variance = ((first + second) / n - share**2) / n
    assert lower_bound(first, second, n) == pytest.approx(share - 1.6449 * variance**0.5, abs=1e-3)


def test_the_upper_bound_is_the_lower_one_of_the_reverse() -> None:
    """Who is first does not matter."""
    assert upper_bound(3, 9, 60) == -lower_bound(9, 3, 60)
    assert lower_bound(3, 9, 60) < -0.1 < upper_bound(3, 9, 60)


def test_more_cases_at_the_same_shares_move_it_up() -> None:
    """The bound rises towards the difference and stays below it."""
    bounds = [lower_bound(2 * k, 3 * k, 50 * k) for k in (1, 2, 4, 8, 16)]
    assert bounds == sorted(bounds)
    assert bounds[-1] < -0.02


def test_extremes_have_bounds() -> None:
    """One always right where the other is wrong, and the reverse."""
    assert 0.7 < lower_bound(20, 0, 20) < 1
    assert -1 <= lower_bound(0, 20, 20) < -0.9


def test_the_bound_holds_as_often_as_it_says() -> None:
    """2,000 draws of 80 cases with a true difference of -0.05: the bound is above it in about one of 20."""
    chance = random.Random(7)
    known: dict[tuple[int, int], float] = {}
    missed = 0
    for _ in range(2000):
        draws = [chance.random() for _ in range(80)]
        counts = sum(draw < 0.10 for draw in draws), sum(draw > 0.85 for draw in draws)
        if counts not in known:
            known[counts] = lower_bound(*counts, 80)
        missed += known[counts] > -0.05
    assert 0.03 < missed / 2000 < 0.07


@pytest.mark.parametrize(("first", "second", "n"), [(0, 0, 0), (-1, 0, 5), (3, 3, 5)])
def test_counts_that_do_not_fit_are_refused(first: float, second: float, n: float) -> None:
    """More discordant cases than cases, or none at all."""
    with pytest.raises(ValueError, match="no bound"):
        lower_bound(first, second, n)
