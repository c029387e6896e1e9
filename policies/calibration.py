"""From a reward model's scores to the judges' scale of 0 to 10.

The map is a line, cut at the ends of the scale. Curation gives a pair whose rewards are m apart the soft
label 1 / (1 + exp(-m / 2)), and a Bradley-Terry model's scores are apart by the log odds of its labels: what
it learns is half a reward, up to a shift. A line also passes on exactly to a critic's head, which a curve
would not.
"""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat

from policies.records import Frozen

MOST = 10.0
LEAST_POINTS = 20
"""Fewer points do not tell a slope from chance."""


class Calibration(Frozen):
    """reward = slope x score + intercept, in points, cut to 0..10."""

    slope: PositiveFloat
    intercept: Annotated[float, Field(allow_inf_nan=False)]
    points: NonNegativeInt = 0
    """How many (score, reward) points it was fitted on."""
    residual: float | None = Field(default=None, ge=0)
    """Standard deviation of what is left, in points."""

    def uncut(self, score: float) -> float:
        """The reward of a score, wherever it lies."""
        return self.slope * score + self.intercept

    def reward(self, score: float) -> float:
        """The reward of a score, on the scale. Raises ValueError for a score that is not finite."""
        return cut(self.uncut(score))


PRIOR = Calibration(slope=2.0, intercept=5.0)
"""Before any point is known: labels are logistic with odds e at two points, and centring puts the mean score
at 0, which is the middle of the scale."""


def cut(reward: float) -> float:
    """The reward within 0..10. Raises ValueError where it is not finite."""
    if not math.isfinite(reward):
        raise ValueError(f"a reward of {reward} is on no scale")
    return min(MOST, max(0.0, reward))


def fit(points: Sequence[tuple[float, float]]) -> Calibration:
    """Least squares of rewards on scores, from (score, reward) points.

    Raises ValueError with fewer than 20 points, where one is not finite, and where rewards do not rise with
    scores: such a model does not rank answers as its judge does, and no map mends that.
    """
    if len(points) < LEAST_POINTS:
        raise ValueError(
            f"{len(points)} scored answers with a reward, and {LEAST_POINTS} are needed to calibrate: "
            f"{LEAST_POINTS - len(points)} are missing"
        )
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError("a score or a reward to calibrate on is not finite")
    mean_score, mean_reward = fmean(score for score, _ in points), fmean(reward for _, reward in points)
    spread = math.fsum((score - mean_score) ** 2 for score, _ in points)
    common = math.fsum((score - mean_score) * (reward - mean_reward) for score, reward in points)
    if spread == 0 or common <= 0:
        raise ValueError(
            f"over {len(points)} answers the rewards do not rise with the scores: nothing to calibrate"
        )
    slope = common / spread
    intercept = mean_reward - slope * mean_score
    left = math.fsum((reward - slope * score - intercept) ** 2 for score, reward in points)
    return Calibration(
        slope=slope, intercept=intercept, points=len(points), residual=math.sqrt(left / (len(points) - 2))
    )
