"""Reading pauses at the high mark and goes on at the low one."""

import pytest
from pydantic import ValidationError

from policies.pressure import MEGABYTE, Levels, Pressure, PressureRule, line, pressing

RULE = PressureRule(disk_floor_mb=100, disk_resume_mb=150, open_judgements_high=10, open_judgements_low=4)
NONE: frozenset[Pressure] = frozenset()


def test_the_disk_has_a_floor_and_reading_goes_on_above_it() -> None:
    """Between the marks what was before stays."""
    held = NONE
    seen = []
    for free in (100, 99.9, 120, 149, 150, 120, 99):
        held = pressing(Levels(free * MEGABYTE, 0), held, RULE)
        seen.append(Pressure.DISK in held)
    assert seen == [False, True, True, True, False, False, True]


def test_a_backlog_drains_to_its_low_mark() -> None:
    """What waits at the low mark is worked off while reading goes on."""
    held = NONE
    seen = []
    for waiting in (9, 10, 7, 5, 4, 9):
        held = pressing(Levels(1e12, waiting), held, RULE)
        seen.append(Pressure.BACKLOG in held)
    assert seen == [False, True, True, True, False, False]


def test_a_mark_that_is_not_set_presses_never() -> None:
    """The disk's floor is set unless it is 0, the backlog's mark is not."""
    worst = Levels(0.0, 10**9)
    assert pressing(worst, NONE, PressureRule(disk_floor_mb=0)) == NONE
    assert pressing(worst, NONE, PressureRule()) == {Pressure.DISK}


@pytest.mark.parametrize(
    "marks",
    [
        {"disk_floor_mb": 10, "disk_resume_mb": 9},
        {"open_judgements_high": 5, "open_judgements_low": 5},
    ],
)
def test_marks_the_wrong_way_round_are_refused(marks: dict[str, int]) -> None:
    """Reading would never go on, or flicker."""
    with pytest.raises(ValidationError, match=r"below"):
        PressureRule(**marks)


def test_a_person_is_told_what_to_do() -> None:
    """With the numbers and the keys."""
    said = [line(each, Levels(90 * MEGABYTE, 12), RULE) for each in Pressure]
    assert "90 MB are free" in said[0]
    assert "stages.pressure.disk_floor_mb is 100" in said[0]
    assert "12 judgements wait" in said[1]
