"""How many events it takes until what is missing is there, where each event brings some of it by chance.

Events fall into splits by a hash, so that the hits among n events are binomial, and the wait for the k-th is
negative binomial. The upper end of a wait for several demands adds up the probabilities of being late for
each (Bonferroni), its lower end is that of the slowest demand alone: however the splits depend on each other,
both hold at 95 %, with the rates at their own bounds. In the middle demands are taken to be independent.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from policies.records import Split
from policies.statistics.intervals import wilson

LIKELY = 0.5
SURE = 0.95
MOST_EVENTS = 1 << 40
"""Beyond it nothing is searched: it is never."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something happens, with one-sided 95 % bounds. `seen` 0: it is assumed, or known."""

    estimate: float
    lower: float
    upper: float
    seen: int = 0

    def __mul__(self, other: "Rate") -> "Rate":
        """That both happen. The bounds are those of the worst case, at less than both confidences."""
        return Rate(
            self.estimate * other.estimate,
            self.lower * other.lower,
            self.upper * other.upper,
            min(self.seen, other.seen),
        )


def known(share: float) -> Rate:
    """A rate without doubt: a probability of ours, or an assumption."""
    return Rate(share, share, share)


def observed(hits: int, seen: int, *, assumed: float = 1.0) -> Rate:
    """The rate of hits among what was seen; `assumed` where nothing was."""
    if seen == 0:
        return known(assumed)
    found = wilson(hits, seen)
    return Rate(found.estimate, found.lower, found.upper, seen)


@dataclass(frozen=True, slots=True)
class Demand:
    """Hits that are missing in a split, `least` to `most` of them where rates leave it open.

    An event that falls into the split is a hit with the probability `yields`.
    """

    split: Split
    hits: int
    least: int
    most: int
    yields: Rate


@dataclass(frozen=True, slots=True)
class Wait:
    """Events: as likely as not `about` suffice; in nine of ten cases it takes `least` to `most`."""

    about: int
    least: int
    most: int


def wait(demands: Sequence[Demand], chances: Mapping[Split, Rate]) -> Wait | None:
    """The wait until every demand is met; None where one of them never is.

    `chances` are the probabilities that an event falls into a split.
    """
    wanted = [(each, chances[each.split] * each.yields) for each in demands if each.most > 0]
    if any(rate.lower <= 0 for _, rate in wanted):
        return None
    about = first(
        lambda n: math.prod(reached(n, each.hits, rate.estimate) for each, rate in wanted) >= LIKELY
    )
    least = max((first(_sometimes(each.least, rate.upper)) for each, rate in wanted), default=0)
    most = first(lambda n: sum(1 - reached(n, each.most, rate.lower) for each, rate in wanted) <= 1 - SURE)
    return Wait(about, least, most)


def reached(events: int, hits: int, chance: float) -> float:
    """The probability of so many hits or more among the events, each a hit with this chance."""
    if hits <= 0:
        return 1.0
    if events < hits or chance <= 0:
        return 0.0
    if chance >= 1:
        return 1.0
    return 1.0 - _fewer(events, hits, chance)


def chance_for(events: int, hits: int, level: float) -> float | None:
    """The least chance with which the events bring the hits at this probability; None where none does."""
    if hits <= 0:
        return 0.0
    if events < hits:
        return None
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(events, hits, middle) >= level else (middle, high)
    return high


def _fewer(n: int, hits: int, chance: float) -> float:
    """P(X < hits) of a binomial X, from the term at hits - 1 downwards.

    That term in logarithms may be nothing in a double; the sum then is nothing too, or all but nothing
    of everything, by the side of the mean that it is on.
    """
    top = hits - 1
    log = math.lgamma(n + 1) - math.lgamma(top + 1) - math.lgamma(n - top + 1)
    log += top * math.log(chance) + (n - top) * math.log1p(-chance)
    if log < -700:
        return 0.0 if top < n * chance else 1.0
    term = total = math.exp(log)
    for k in range(top, 0, -1):
        term *= k / (n - k + 1) * (1 - chance) / chance
        total += term
        if k < n * chance and term < total * 1e-12:
            break
    return min(1.0, total)


def _sometimes(hits: int, chance: float) -> Callable[[int], bool]:
    return lambda n: reached(n, hits, chance) >= 1 - SURE


def first(holds: Callable[[int], bool]) -> int:
    """The least count at which a statement holds that goes on to hold."""
    if holds(0):
        return 0
    high = 1
    while not holds(high) and high < MOST_EVENTS:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
