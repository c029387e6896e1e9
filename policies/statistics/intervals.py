"""Intervals for shares that are seen in clusters.

Answers to one prompt are alike, so they carry less than as many independent observations. The design effect
(Kish, Survey Sampling, 1965) says by how much: it is the variance of the share over clusters, as the ratio
estimator's linearisation gives it, divided by that of independent draws. The effective number, n divided by
the design effect and corrected for few clusters (Korn and Graubard, Survey Methodology 24, 1998), goes into
Wilson's interval (JASA 22, 1927) in the place of n.

Values between 0 and 1, such as a tie counted as half, keep the interval valid: no variable on [0, 1] with
mean p has more variance than p(1-p), which is what Wilson's interval assumes. With many ties it is too wide,
never too narrow. Everything here is a closed form: the same data give the same interval.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

Sides = Literal[1, 2]


@dataclass(frozen=True, slots=True)
class Interval:
    """A share with its bounds. With one side each bound holds alone at the confidence; with two, together.

    `effective` is the number of independent observations that the data are worth, at most `n`.
    """

    estimate: float
    lower: float
    upper: float
    n: int
    clusters: int
    effective: float


def quantile(confidence: float, sides: Sides) -> float:
    """The standard normal quantile that leaves 1 - confidence outside, on one side or on both."""
    return NormalDist().inv_cdf(confidence if sides == 1 else (1 + confidence) / 2)


def bounds(share: float, n: float, *, confidence: float = 0.95, sides: Sides = 1) -> tuple[float, float]:
    """Wilson's bounds of a share seen in n independent observations. Raises ValueError unless n > 0."""
    if n <= 0 or not 0 <= share <= 1:
        raise ValueError(f"no interval for a share of {share} in {n} observations")
    z = quantile(confidence, sides)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def wilson(right: float, n: int, *, confidence: float = 0.95, sides: Sides = 1) -> Interval:
    """The interval of `right` successes among `n` independent observations."""
    if n <= 0:
        raise ValueError("no interval without observations")
    lower, upper = bounds(right / n, n, confidence=confidence, sides=sides)
    return Interval(right / n, lower, upper, n, n, float(n))


def clustered(
    values: Mapping[str, Sequence[float]], *, confidence: float = 0.95, sides: Sides = 1
) -> Interval:
    """The interval of the mean of values in [0, 1], given by cluster. Raises ValueError without values."""
    groups = [group for group in values.values() if group]
    n = sum(len(group) for group in groups)
    if n == 0:
        raise ValueError("no interval without observations")
    share = math.fsum(value for group in groups for value in group) / n
    effective = _effective(groups, share, n)
    lower, upper = bounds(share, effective, confidence=confidence, sides=sides)
    return Interval(share, lower, upper, n, len(groups), effective)


def weighted(
    values: Mapping[str, Sequence[tuple[float, float]]], *, confidence: float = 0.95, sides: Sides = 1
) -> Interval:
    """The interval of the weighted mean of (value, weight) by cluster, weights above 0: that of `clustered`
    where they are all the same. Raises ValueError without values.

    The variance is that of the ratio estimator over clusters (Hájek, 1971); weights that differ make fewer
    effective observations by themselves (Kish, 1965), whatever the values are.
    """
    groups = [group for group in values.values() if group]
    weights = [weight for group in groups for _, weight in group]
    if len(set(weights)) <= 1:
        plain = {name: [value for value, _ in group] for name, group in values.items()}
        return clustered(plain, confidence=confidence, sides=sides)
    total = math.fsum(weights)
    share = math.fsum(value * weight for group in groups for value, weight in group) / total
    share = min(1.0, max(0.0, share))
    effective = _effective_weighted(groups, share, total)
    lower, upper = bounds(share, effective, confidence=confidence, sides=sides)
    return Interval(share, lower, upper, len(weights), len(groups), effective)


def win_rate(results: Iterable[tuple[str, float]], *, confidence: float = 0.95, sides: Sides = 1) -> Interval:
    """The interval of the win rate from (cluster, 1 win | 0.5 tie | 0 loss). ValueError without results."""
    groups: dict[str, list[float]] = {}
    for cluster, value in results:
        groups.setdefault(cluster, []).append(value)
    return clustered(groups, confidence=confidence, sides=sides)


def needed(share: float, limit: float, *, confidence: float = 0.95, most: int = 100_000) -> int | None:
    """About how many independent observations with this share put a one-sided bound beyond the limit.

    None where `most` do not: a share at the limit is never decided.
    """
    if not _beyond(share, limit, most, confidence):
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _beyond(share, limit, middle, confidence) else (middle, high)
    return high


def passing(n: float, limit: float, *, confidence: float = 0.95) -> float:
    """The share in n independent observations whose one-sided lower bound is the limit; above 1: none is.

    Wilson's bounds invert the score test, which makes it a closed form. A larger share is beyond the limit.
    """
    return limit + quantile(confidence, 1) * math.sqrt(limit * (1 - limit) / n)


def t_quantile(probability: float, freedom: int) -> float:
    """Student's t quantile: exact for one and two degrees of freedom, else Abramowitz and Stegun 26.7.5.

    Off by less than 0.1 % for probabilities from 0.9 to 0.99.
    """
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        spread = 2 * probability - 1
        return spread * math.sqrt(2 / (1 - spread * spread))
    x = NormalDist().inv_cdf(probability)
    terms = (
        x,
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return sum(term / float(freedom) ** power for power, term in enumerate(terms))


def _effective(groups: list[Sequence[float]], share: float, n: int) -> float:
    """Observations over the design effect and the correction for few clusters; between 1 and n.

    Where all values are alike nothing shows the design effect: the clusters are counted instead.
    """
    clusters = len(groups)
    if clusters == n:
        return float(n)
    independent = share * (1 - share) / (n - 1)
    if clusters < 2 or independent == 0:
        return float(clusters)
    spread = math.fsum((math.fsum(group) - share * len(group)) ** 2 for group in groups)
    between = clusters / (clusters - 1) * spread / n**2
    few = (t_quantile(0.95, n - 1) / t_quantile(0.95, clusters - 1)) ** 2
    return max(1.0, min(float(n), n * independent / max(between, 1e-300) * few))


def _effective_weighted(groups: list[Sequence[tuple[float, float]]], share: float, total: float) -> float:
    """As `_effective`, with weights: at most Kish's number of all of them."""
    n, clusters = sum(len(group) for group in groups), len(groups)
    most = total**2 / math.fsum(weight**2 for group in groups for _, weight in group)
    alike = total**2 / math.fsum(math.fsum(weight for _, weight in group) ** 2 for group in groups)
    if clusters < 2 or share * (1 - share) == 0:
        return alike
    spread = math.fsum(
        math.fsum(weight * (value - share) for value, weight in group) ** 2 for group in groups
    )
    between = clusters / (clusters - 1) * spread / total**2
    few = (t_quantile(0.95, n - 1) / t_quantile(0.95, clusters - 1)) ** 2
    return max(1.0, min(most, share * (1 - share) / max(between, 1e-300) * few))


def _beyond(share: float, limit: float, n: int, confidence: float) -> bool:
    if n < 1:
        return False
    lower, upper = bounds(share, n, confidence=confidence)
    return lower > limit or upper < limit
