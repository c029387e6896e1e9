"""Alignment counts what people and judge both decided, and says how much it left out."""

from dataclasses import replace

import pytest

from policies.alignment import AlignmentStanding, Choice, Labelled, adjudicate, alignment, choice_of


def pair(
    judge: Choice | None,
    *humans: Choice,
    cluster: str = "",
    flipped: bool = False,
    lengths: tuple[int, int] = (10, 20),
) -> Labelled:
    return Labelled(cluster, judge, humans, *lengths, flipped)


def many(right: int, wrong: int, undecided: int = 0) -> list[Labelled]:
    rows = [pair("a", "a", cluster=f"r{index}") for index in range(right)]
    rows += [pair("b", "a", cluster=f"w{index}") for index in range(wrong)]
    return rows + [pair(None, "a", cluster=f"u{index}") for index in range(undecided)]


@pytest.mark.parametrize(
    ("humans", "expected"),
    [
        (("a",), "a"),
        (("a", "b"), None),
        (("a", "a", "b"), "a"),
        (("a", "tie"), None),
        (("a", "tie", "tie"), None),
        (("b", "tie", "b"), "b"),
        (("tie",), None),
        ((), None),
    ],
)
def test_people_decide_by_majority(humans: tuple[Choice, ...], expected: str | None) -> None:
    """More than half must choose the same answer; ties and split panels decide nothing."""
    assert adjudicate(humans) == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(8.0, 5.0, "a"), (5.0, 8.0, "b"), (5.0, 6.9, None), (5.0, 7.0, "b"), (None, 9.0, None)],
)
def test_a_pointwise_judge_decides_from_the_gap_on(
    a: float | None, b: float | None, expected: str | None
) -> None:
    """Scores that differ by less than the gap, or an abstention, decide nothing."""
    assert choice_of(a, b, min_gap=2.0) == expected


def test_ratio_is_of_decided_pairs_and_coverage_of_asked_ones() -> None:
    """An undecided judge lowers the coverage, undecided people count nowhere."""
    found = alignment([*many(8, 2, 10), pair("a", "tie"), pair("a", "a", "b")], limit=0.8, min_labels=5)
    assert (found.ratio, found.labels, found.asked, found.coverage) == (0.8, 10, 20, 0.5)


def test_a_flip_is_undecided_and_counted() -> None:
    """Two orders that contradict each other are no verdict, whatever the row says."""
    found = alignment([pair("a", "a", flipped=True), pair("b", "b")], limit=0.8, min_labels=1)
    assert (found.labels, found.coverage, found.flips) == (1, 0.5, 0.5)


@pytest.mark.parametrize(
    ("right", "wrong", "standing"),
    [
        (170, 30, AlignmentStanding.OK),
        (169, 31, AlignmentStanding.INCONCLUSIVE),
        (160, 40, AlignmentStanding.INCONCLUSIVE),
        (159, 41, AlignmentStanding.BREACH),
        (39, 10, AlignmentStanding.INCONCLUSIVE),
        (39, 11, AlignmentStanding.BREACH),
    ],
)
def test_standing_follows_bound_point_and_number(right: int, wrong: int, standing: AlignmentStanding) -> None:
    """The bound clears, the point estimate breaches, and fewer than 50 labels do neither."""
    assert alignment(many(right, wrong), limit=0.8, min_labels=50).standing is standing


def test_low_coverage_is_never_ok() -> None:
    """A judge that decides a tenth of the pairs is right on the easy ones: inconclusive."""
    found = alignment(many(100, 0, 900), limit=0.8, min_labels=50)
    assert found.lower > 0.8
    assert found.standing is AlignmentStanding.INCONCLUSIVE


def test_the_window_ends_at_the_last_decided_pair() -> None:
    """Older pairs than the window's do not count."""
    rows = [*many(50, 0), *many(0, 50)]
    found = alignment(rows, limit=0.8, min_labels=10, window=50)
    assert (found.ratio, found.labels) == (1.0, 50)


def test_nothing_labelled_is_unknown_not_zero() -> None:
    """Without labels the ratio is None and the bounds say nothing."""
    found = alignment([pair(None, "a"), pair("a", "tie")], limit=0.8, min_labels=50)
    assert (found.ratio, found.lower, found.upper, found.labels) == (None, 0.0, 1.0, 0)
    assert found.standing is AlignmentStanding.INCONCLUSIVE
    assert alignment([], limit=0.8, min_labels=50).coverage is None


def test_length_baseline_is_on_the_same_pairs() -> None:
    """Longer is right on two of four, equal lengths count half, undecided pairs count nowhere."""
    rows = [
        pair("a", "b"),
        pair("b", "b"),
        pair("a", "a"),
        pair("a", "a", lengths=(5, 5)),
        pair(None, "b"),
    ]
    assert alignment(rows, limit=0.8, min_labels=1).length_baseline == pytest.approx(2.5 / 4)


def test_ceiling_is_how_often_two_people_agree() -> None:
    """Of pairs with several reviewers; ties are left out of it."""
    rows = [pair("a", "a", "a"), pair("a", "a", "a", "b"), pair("a", "a"), pair("a", "a", "a", "tie")]
    found = alignment(rows, limit=0.8, min_labels=1)
    assert found.ceiling == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert found.ceiling_pairs == 3


def test_pairs_of_one_prompt_widen_the_bound() -> None:
    """A hundred pairs of ten prompts that stand or fall together prove less than of a hundred prompts."""
    alike = [
        pair("a" if prompt < 9 else "b", "a", cluster=str(prompt)) for prompt in range(10) for _ in range(10)
    ]
    apart = many(90, 10)
    assert (
        alignment(alike, limit=0.8, min_labels=50).lower
        < 0.8
        < (alignment(apart, limit=0.8, min_labels=50).lower)
    )


def test_a_pair_of_a_sampled_source_stands_for_others() -> None:
    """Where a quarter was kept each pair counts four times, and fewer effective observations are left."""
    whole = [pair("a", "a", cluster=f"w{number}") for number in range(40)]
    wrong = [pair("b", "a", cluster=f"s{number}") for number in range(10)]
    sampled = [replace(each, weight=4.0) for each in wrong]
    found = alignment(whole + sampled, limit=0.8, min_labels=10)
    assert found.ratio == pytest.approx(0.5)
    assert (found.labels, found.coverage) == (50, 1.0)
    assert found.effective < 32
    plain = alignment(whole + wrong, limit=0.8, min_labels=10)
    assert (plain.ratio, plain.effective) == (0.8, 50.0)
    assert found.lower < 0.4
    alike = [replace(each, weight=4.0) for each in whole + wrong]
    assert alignment(alike, limit=0.8, min_labels=10) == plain
