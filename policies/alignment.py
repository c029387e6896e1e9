"""Alignment: how often people agree with a judge, and how sure that is.

A pair of answers counts where people as a majority prefer one of them and the judge decided for one of them.
People's ties and undecided panels are left out; a judge's flips, ties and abstentions lower the coverage, not
the ratio. Beside the ratio stand two numbers without which it says little: how often the longer answer wins
on the same pairs, and how often two people agree.

Where a source keeps only a share of its traces, each pair counts for as many as it stands for (Horvitz and
Thompson, JASA 47, 1952): the measure is one of the traffic, however the share changed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Literal

from policies.statistics.intervals import weighted

Choice = Literal["a", "b", "tie"]
Side = Literal["a", "b"]

COVERAGE_FLOOR = 0.2
"""A judge that decides fewer of the pairs it was asked is measured on what is easy for it: inconclusive.
Usable judges on public data decide 0.34 to 0.69 of the pairs."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A pair of answers with what the judge chose and what each reviewer chose.

    `judge` is None where the judge was asked and did not decide. Lengths are in characters.
    """

    cluster: str
    judge: Choice | None
    humans: tuple[Choice, ...]
    length_a: int
    length_b: int
    flipped: bool = False
    weight: float = 1.0
    """How many pairs of the traffic it stands for: 1 over the probability with which its trace was kept."""


class AlignmentStanding(StrEnum):
    """What the alignment says: `ok` is sure to be above the limit, `breach` is measured below it."""

    OK = "ok"
    INCONCLUSIVE = "inconclusive"
    BREACH = "breach"


@dataclass(frozen=True, slots=True)
class Alignment:
    """A judge's agreement with people. Bounds are one-sided 95 %, over prompt clusters.

    `labels` counts the pairs behind the ratio, `asked` those that people decided, whatever the judge did.
    Ratios are None where nothing was there to measure.
    """

    ratio: float | None
    lower: float
    upper: float
    labels: int
    asked: int
    coverage: float | None
    flips: float | None
    length_baseline: float | None
    ceiling: float | None
    ceiling_pairs: int
    effective: float
    limit: float
    standing: AlignmentStanding

    @property
    def decisive(self) -> bool:
        """Whether the lower bound is sure to be at the limit or above it."""
        return self.standing is AlignmentStanding.OK


def choice_of(score_a: float | None, score_b: float | None, *, min_gap: float) -> Side | None:
    """A pointwise judge's choice between two answers: decided when its scores differ by `min_gap` or more."""
    if score_a is None or score_b is None or abs(score_a - score_b) < min_gap:
        return None
    return "a" if score_a > score_b else "b"


def adjudicate(humans: Sequence[Choice]) -> Side | None:
    """What more than half of the reviewers chose; None where that is a tie or nothing."""
    for side in ("a", "b"):
        if sum(human == side for human in humans) * 2 > len(humans):
            return side
    return None


def alignment(
    pairs: Sequence[Labelled],
    *,
    limit: float,
    min_labels: int,
    window: int | None = None,
    coverage_floor: float = COVERAGE_FLOOR,
) -> Alignment:
    """Measures a judge on labelled pairs, newest first, back to the `window`-th decided one."""
    asked = _windowed([pair for pair in pairs if adjudicate(pair.humans) is not None], window)
    decided = [pair for pair in asked if _decided(pair)]
    agreed: dict[str, list[tuple[float, float]]] = {}
    for pair in decided:
        right = float(pair.judge == adjudicate(pair.humans))
        agreed.setdefault(pair.cluster, []).append((right, pair.weight))
    interval = weighted(agreed) if decided else None
    coverage = _weight(decided) / _weight(asked) if asked else None
    ceiling, ceiling_pairs = _ceiling(asked)
    ratio, lower = (interval.estimate, interval.lower) if interval else (None, 0.0)
    enough = len(decided) >= min_labels and (coverage or 0.0) >= coverage_floor
    return Alignment(
        ratio=ratio,
        lower=lower,
        upper=interval.upper if interval else 1.0,
        labels=len(decided),
        asked=len(asked),
        coverage=coverage,
        flips=_weight([pair for pair in asked if pair.flipped]) / _weight(asked) if asked else None,
        length_baseline=_length_baseline(decided),
        ceiling=ceiling,
        ceiling_pairs=ceiling_pairs,
        effective=interval.effective if interval else 0.0,
        limit=limit,
        standing=_standing(ratio, lower, limit=limit, counted=len(decided) >= min_labels, enough=enough),
    )


def _standing(
    ratio: float | None, lower: float, *, limit: float, counted: bool, enough: bool
) -> AlignmentStanding:
    if ratio is not None and ratio < limit and counted:
        return AlignmentStanding.BREACH
    return AlignmentStanding.OK if lower >= limit and enough else AlignmentStanding.INCONCLUSIVE


def _weight(pairs: Sequence[Labelled]) -> float:
    return math.fsum(pair.weight for pair in pairs)


def _decided(pair: Labelled) -> bool:
    return pair.judge in {"a", "b"} and not pair.flipped


def _windowed(pairs: list[Labelled], window: int | None) -> list[Labelled]:
    if window is None:
        return pairs
    seen = 0
    for index, pair in enumerate(pairs):
        seen += _decided(pair)
        if seen == window:
            return pairs[: index + 1]
    return pairs


def _length_baseline(decided: list[Labelled]) -> float | None:
    """How often "the longer one" would have been right; equal lengths count half."""
    if not decided:
        return None
    right = 0.0
    for pair in decided:
        if pair.length_a == pair.length_b:
            right += 0.5 * pair.weight
        elif adjudicate(pair.humans) == ("a" if pair.length_a > pair.length_b else "b"):
            right += pair.weight
    return right / _weight(decided)


def _ceiling(pairs: list[Labelled]) -> tuple[float | None, int]:
    """How often two reviewers of one pair agree where both decided; each pair of answers weighs the same."""
    shares = []
    for pair in pairs:
        votes = [human for human in pair.humans if human != "tie"]
        both = list(combinations(votes, 2))
        if both:
            shares.append(sum(one == other for one, other in both) / len(both))
    return (sum(shares) / len(shares) if shares else None), len(shares)
