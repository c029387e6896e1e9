"""Scores to points: the line, its ends, and when there is none."""

import math
import random

import pytest

from policies.calibration import LEAST_POINTS, PRIOR, Calibration, fit


def test_a_line_is_found_again() -> None:
    """Points that lie on a line give that line, with nothing left."""
    found = fit([(score / 10, 1.5 * score / 10 + 4) for score in range(-15, 16)])
    assert found.slope == pytest.approx(1.5)
    assert found.intercept == pytest.approx(4)
    assert found.points == 31
    assert found.residual == pytest.approx(0, abs=1e-9)


def test_it_is_the_least_squares_line() -> None:
    """By hand: four points ten times over with means 1.5 and 5, covariance 13 over variance 5."""
    corners = [(0.0, 1.0), (1.0, 4.0), (2.0, 6.0), (3.0, 9.0)]
    found = fit(corners * 10)
    assert found.slope == pytest.approx(2.6)
    assert found.intercept == pytest.approx(5 - 2.6 * 1.5)
    residuals = [reward - 2.6 * score - 1.1 for score, reward in corners]
    assert found.residual == pytest.approx(math.sqrt(10 * sum(r * r for r in residuals) / 38))


def test_rewards_stay_on_the_scale_and_in_order() -> None:
    """A higher score never has a lower reward, and none is outside 0 to 10."""
    line = Calibration(slope=2.0, intercept=5.0)
    rewards = [line.reward(score / 4) for score in range(-20, 21)]
    assert rewards == sorted(rewards)
    assert (rewards[0], rewards[-1]) == (0.0, 10.0)
    assert line.uncut(4.0) == 13.0


def test_a_score_that_is_no_number_has_no_reward() -> None:
    """NaN would pass both cuts; it is refused."""
    for score in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="on no scale"):
            PRIOR.reward(score)


def test_the_prior_turns_log_odds_into_the_margin_that_curation_made_them_of() -> None:
    """Two rewards that are m apart have the soft label 1 / (1 + exp(-m / 2)); its log odds are m apart."""
    margin = 3.0
    soft = 1 / (1 + math.exp(-margin / 2))
    log_odds = math.log(soft / (1 - soft))
    assert PRIOR.uncut(log_odds) - PRIOR.uncut(0) == pytest.approx(margin)


def test_too_few_points_name_the_missing_number() -> None:
    """Nineteen are one too few."""
    with pytest.raises(ValueError, match=r"^19 scored answers .* 1 are missing$"):
        fit([(float(n), float(n)) for n in range(LEAST_POINTS - 1)])


@pytest.mark.parametrize(
    "points",
    [
        [(float(n), 10.0 - n / 4) for n in range(30)],
        [(1.0, float(n % 10)) for n in range(30)],
        [(float(n), 5.0) for n in range(30)],
    ],
)
def test_scores_that_do_not_rank_are_not_calibrated(points: list[tuple[float, float]]) -> None:
    """Falling, constant scores and constant rewards have no rising line."""
    with pytest.raises(ValueError, match="do not rise"):
        fit(points)


def test_points_that_are_no_numbers_are_refused() -> None:
    """One NaN among thirty would make the whole line NaN."""
    points = [(float(n), float(n)) for n in range(30)]
    with pytest.raises(ValueError, match="not finite"):
        fit([*points, (math.nan, 1.0)])


def test_noise_does_not_bend_the_line() -> None:
    """Four hundred points with noise of one point: the slope is within a tenth, the residual near one."""
    chance = random.Random(3)
    scores = [chance.gauss(0, 1) for _ in range(400)]
    found = fit([(score, 2 * score + 5 + chance.gauss(0, 1)) for score in scores])
    assert found.slope == pytest.approx(2, abs=0.1)
    assert found.residual == pytest.approx(1, abs=0.1)
