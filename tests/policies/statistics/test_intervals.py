"""Intervals agree with published values and grow wider where observations come in clusters."""

import random
from statistics import fmean

import pytest

from policies.statistics.intervals import (
    bounds,
    clustered,
    needed,
    passing,
    t_quantile,
    weighted,
    wilson,
    win_rate,
)


@pytest.mark.parametrize(("n", "enough", "too_few"), [(50, 45, 35), (100, 87, 73), (200, 170, 150)])
def test_wilson_needs_the_known_number_right_to_be_sure_of_eighty_percent(
    n: int, enough: int, too_few: int
) -> None:
    """The least number surely above 0.8 and the most surely below it, one-sided at 95 %."""
    assert wilson(enough, n).lower >= 0.8 > wilson(enough - 1, n).lower
    assert wilson(too_few, n).upper < 0.8 <= wilson(too_few + 1, n).upper


@pytest.mark.parametrize(("n", "limit"), [(50, 0.8), (40, 0.5), (200, 0.5), (11, 0.8)])
def test_the_share_that_passes_has_the_limit_as_its_bound(n: int, limit: float) -> None:
    """As many as that are needed, and no share passes where it is above one."""
    share = passing(n, limit)
    assert bounds(share, n)[0] == pytest.approx(limit)
    assert needed(share + 1e-6, limit) in {n, n + 1}
    assert passing(10, 0.8) > 1


def test_ten_observations_never_show_eighty_percent() -> None:
    """Ten of ten right leave the lower bound below 0.8; five right put the upper bound below it."""
    assert wilson(10, 10).lower < 0.8
    assert wilson(5, 10).upper < 0.8 <= wilson(6, 10).upper


def test_two_sided_bounds_match_the_textbook() -> None:
    """Brown, Cai and DasGupta's example values: 0 of 10 and 8 of 10 at 95 %."""
    assert bounds(0.0, 10, sides=2) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert bounds(0.8, 10, sides=2) == pytest.approx((0.4902, 0.9433), abs=1e-4)


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 6.3138), (2, 2.9200), (3, 2.3534), (10, 1.8125), (30, 1.6973)]
)
def test_t_quantiles_match_the_tables(freedom: int, expected: float) -> None:
    """Student's t at 0.95."""
    assert t_quantile(0.95, freedom) == pytest.approx(expected, rel=1e-3)


def test_one_observation_a_cluster_is_plain_wilson() -> None:
    """Without clustering the design effect is one."""
    values = {str(index): [float(index < 87)] for index in range(100)}
    found, plain = clustered(values), wilson(87, 100)
    assert found.effective == 100
    assert (found.lower, found.upper) == pytest.approx((plain.lower, plain.upper))


def test_copies_within_a_cluster_add_nothing() -> None:
    """Twenty prompts seen five times with the same result are worth twenty observations, not a hundred."""
    values = {str(index): [float(index < 16)] * 5 for index in range(20)}
    found = clustered(values)
    assert found.n == 100
    assert found.effective == pytest.approx(20, rel=0.15)
    assert found.lower < wilson(80, 100).lower


def test_effective_number_is_never_above_the_real_one() -> None:
    """Clusters that balance themselves out could claim more than n observations: they may not."""
    found = clustered({str(index): [1.0, 0.0] for index in range(30)})
    assert found.effective == 60


def test_all_alike_counts_the_clusters() -> None:
    """Where nothing shows the design effect, each cluster counts once."""
    assert clustered({str(index): [1.0] * 10 for index in range(6)}).effective == 6


def test_no_observation_has_no_interval() -> None:
    """An empty sample raises, so that nobody mistakes it for a measurement."""
    nothing: tuple[dict[str, list[float]], ...] = ({}, {"a": []})
    for empty in nothing:
        with pytest.raises(ValueError, match="without observations"):
            clustered(empty)
    with pytest.raises(ValueError, match="no interval"):
        bounds(0.5, 0)


def test_clustered_bounds_cover_as_often_as_promised() -> None:
    """The one-sided lower bound is below the truth in at least 93 % of 1,000 clustered samples."""
    source = random.Random(7)
    covered = []
    for _ in range(1000):
        values = {}
        for cluster in range(40):
            share = source.betavariate(8, 2)
            values[str(cluster)] = [float(source.random() < share) for _ in range(4)]
        covered.append(clustered(values).lower <= 0.8)
    assert fmean(covered) >= 0.93


def test_a_tie_is_half_a_win() -> None:
    """Ties alone give an even win rate with an interval on both sides of it."""
    found = win_rate((str(index), 0.5) for index in range(40))
    assert found.estimate == 0.5
    assert found.lower < 0.5 < found.upper


def test_a_few_wins_among_ties_are_not_certainty() -> None:
    """Three wins and 37 ties are luck one time in eight: the lower bound stays below one half."""
    results = [(str(index), 1.0 if index < 3 else 0.5) for index in range(40)]
    assert win_rate(results).lower < 0.5


def test_needed_is_the_number_that_decides() -> None:
    """The answered number puts the bound beyond the limit, one less does not."""
    n = needed(0.6, 0.5)
    assert n is not None
    assert bounds(0.6, n)[0] > 0.5 >= bounds(0.6, n - 1)[0]
    assert needed(0.5, 0.5) is None


def test_weights_that_are_all_the_same_change_nothing() -> None:
    """Whatever they are: only what differs reweighs."""
    values = {"a": [1.0, 0.0, 1.0], "b": [1.0], "c": [0.5, 0.0]}
    same = {name: [(value, 4.0) for value in group] for name, group in values.items()}
    assert weighted(same) == clustered(values)


def test_a_weighted_interval_covers_the_share_of_what_was_sampled() -> None:
    """Of a traffic whose second half is kept by a quarter: nine of ten bounds hold, where those of the plain
    mean seldom do.
    """
    rng = random.Random(7)
    held = plainly = 0
    for _ in range(200):
        rows = [(0.95, 1.0)] * 60 + [(0.6, 4.0)] * 60
        drawn = {f"{at}": [(float(rng.random() < right), weight)] for at, (right, weight) in enumerate(rows)}
        truth = (0.95 + 4 * 0.6) / 5
        held += weighted(drawn).lower <= truth
        plainly += (
            clustered({name: [value for value, _ in group] for name, group in drawn.items()}).lower <= truth
        )
    assert held >= 184
    assert plainly < 150
