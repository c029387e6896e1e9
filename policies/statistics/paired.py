"""The difference of two shares that were seen on the same cases.

Two judges of one pair of answers are often right together, and only where one is right and the other wrong
does a case tell them apart. The bound is Tango's score bound for paired shares (Statistics in Medicine 17,
1998, 891-908): it holds with few cases and with none that tells them apart, where the usual variance is 0.
"""

import math

from policies.statistics.intervals import Sides, quantile

PRECISION = 1e-7


def lower_bound(first_only: float, second_only: float, n: float, *, confidence: float = 0.95) -> float:
    """The one-sided lower bound of first's share minus second's, over n cases.

    `first_only` counts the cases where first was right and second wrong, `second_only` the reverse; counts
    may be fractions, as they are where n is an effective number. Raises ValueError unless they fit into
    n > 0.
    """
    if n <= 0 or first_only < 0 or second_only < 0 or first_only + second_only > n * (1 + 1e-9):
        raise ValueError(f"no bound for {first_only} and {second_only} of {n} cases")
    sides: Sides = 1
    z = quantile(confidence, sides)
    low, high = -1.0, (first_only - second_only) / n
    while high - low > PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if _score(first_only, second_only, n, middle) > z else (low, middle)
    return low


def upper_bound(first_only: float, second_only: float, n: float, *, confidence: float = 0.95) -> float:
    """The one-sided upper bound of first's share minus second's, over n cases."""
    return -lower_bound(second_only, first_only, n, confidence=confidence)


def _score(first_only: float, second_only: float, n: float, difference: float) -> float:
    """How many standard errors the difference seen is above a supposed one, with the variance under that."""
    b = -first_only - second_only + (2 * n - first_only + second_only) * difference
    c = -second_only * difference * (1 - difference)
    wrong = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    variance = n * (2 * wrong + difference * (1 - difference))
    above = first_only - second_only - n * difference
    if variance <= 0:
        return math.inf if above > 0 else 0.0
    return above / math.sqrt(variance)
