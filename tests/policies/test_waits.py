"""How many events it takes is said so that it comes true as often as it says."""

import math
import random

import pytest

from policies.records import Split
from policies.waits import Demand, Rate, Wait, chance_for, known, observed, reached, wait

CHANCES = {Split.TRAIN: known(0.7), Split.AUDIT: known(0.05), Split.GATE: known(0.2)}


def demand(split: Split, hits: int, yields: Rate | None = None) -> Demand:
    return Demand(split, hits, hits, hits, yields or known(1.0))


@pytest.mark.parametrize(
    ("events", "hits", "chance"),
    [(10, 3, 0.2), (200, 40, 0.2), (30, 30, 0.9), (50, 1, 0.05), (300, 64, 0.7), (40, 39, 0.3), (7, 0, 0.5)],
)
def test_a_probability_is_the_binomials(events: int, hits: int, chance: float) -> None:
    """Term by term, in whole numbers."""
    terms = (math.comb(events, k) * chance**k * (1 - chance) ** (events - k) for k in range(hits, events + 1))
    assert reached(events, hits, chance) == pytest.approx(math.fsum(terms), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("events", "hits", "chance", "expected"),
    [
        (3, 4, 0.9, 0.0),
        (9, 4, 0.0, 0.0),
        (9, 4, 1.0, 1.0),
        (10**5, 2 * 10**4, 0.7, 1.0),
        (10**5, 9 * 10**4, 0.7, 0.0),
    ],
)
def test_the_ends_are_certain(events: int, hits: int, chance: float, expected: float) -> None:
    """Also where every term is too small for a number."""
    assert reached(events, hits, chance) == expected


def test_a_wait_comes_true_as_often_as_it_says() -> None:
    """Of 2,000 simulated deployments nine of ten or more end within the range, and half before its middle."""
    wanted = {Split.TRAIN: 64, Split.AUDIT: 13, Split.GATE: 40}
    found = wait([demand(*each) for each in wanted.items()], CHANCES)
    assert found == Wait(about=256, least=156, most=386)
    draw = random.Random(5)
    took = [_events_until(wanted, draw) for _ in range(2000)]
    within = sum(found.least <= each <= found.most for each in took) / len(took)
    before = sum(each <= found.about for each in took) / len(took)
    assert 0.90 <= within <= 0.96
    assert 0.46 <= before <= 0.54


def _events_until(wanted: dict[Split, int], draw: random.Random) -> int:
    left, events = dict(wanted), 0
    while any(each > 0 for each in left.values()):
        events += 1
        point = draw.random()
        split = Split.TRAIN if point < 0.7 else Split.AUDIT if point < 0.75 else Split.GATE
        if point < 0.95:
            left[split] -= 1
    return events


def test_rates_widen_the_range_and_leave_its_middle() -> None:
    """A share of 14 of 20 may be 0.52 or 0.84; one that is known has no such doubt."""
    sure = wait([demand(Split.TRAIN, 50, known(0.7))], CHANCES)
    seen = observed(14, 20)
    unsure = wait([demand(Split.TRAIN, 50, seen)], CHANCES)
    assert (seen.estimate, round(seen.lower, 2), round(seen.upper, 2)) == (0.7, 0.52, 0.84)
    assert sure is not None
    assert unsure is not None
    assert unsure.about == sure.about
    assert unsure.least < sure.least < sure.most < unsure.most


def test_nothing_missing_takes_no_event() -> None:
    """Whatever the chances are."""
    assert wait([], CHANCES) == Wait(0, 0, 0)
    assert wait([demand(Split.AUDIT, 0)], {Split.AUDIT: known(0.0)}) == Wait(0, 0, 0)


def test_what_no_event_brings_is_never_there() -> None:
    """Beside others that come soon, too."""
    chances = {**CHANCES, Split.AUDIT: known(0.0)}
    assert wait([demand(Split.TRAIN, 1), demand(Split.AUDIT, 1)], chances) is None
    assert wait([demand(Split.TRAIN, 1, observed(0, 9))], CHANCES) is None


def test_the_chance_for_a_wait_is_its_inverse() -> None:
    """As little more and the events would do with less."""
    chance = chance_for(200, 40, 0.8)
    assert chance is not None
    assert reached(200, 40, chance) >= 0.8 > reached(200, 40, chance - 1e-4)
    assert chance_for(10, 0, 0.8) == 0.0
    assert chance_for(39, 40, 0.8) is None
