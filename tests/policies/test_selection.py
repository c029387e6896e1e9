"""No contributor dominates a snapshot, and what is left out is counted by its reason."""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.policy import CurationRule
from policies.selection import Reason, Selection, selected, told

RULE = CurationRule()


@dataclass(frozen=True)
class Given:
    contributor: str
    number: int


def given_by(owners: list[int]) -> list[Given]:
    return [Given(str(owner), index) for index, owner in enumerate(owners)]


def of(selection: Selection[Given]) -> Counter[str]:
    return Counter(item.contributor for item in selection.kept)


def test_fifty_regular_customers_all_give_what_they_have() -> None:
    """Of 495 pairs of 50 subjects none is left out: each has fewer than ten, and its fair share."""
    found = selected(given_by([index % 50 for index in range(495)]), RULE)
    assert (len(found.kept), found.left_out) == (495, {})


def test_nobody_gives_more_than_ten() -> None:
    """However fair the shares are."""
    found = selected(given_by([index % 50 for index in range(1000)]), RULE)
    assert set(of(found).values()) == {10}
    assert found.left_out == {Reason.CONTRIBUTOR: 500}


def test_a_flooding_contributor_gets_its_share() -> None:
    """Of 2,000 others and one with 500, the one gives five: 0.25 % of what remains, more than two shares."""
    found = selected(given_by([-1] * 500 + list(range(2000))), RULE)
    flooding = [item.number for item in found.kept if item.contributor == "-1"]
    assert flooding == [0, 1, 2, 3, 4]
    assert (len(found.kept), found.left_out) == (2005, {Reason.CONTRIBUTOR: 495})


def test_a_flooding_contributor_of_a_small_snapshot_gets_two_fair_shares() -> None:
    """Of 49 others with a pair each and one with 500, the one gives two."""
    found = selected(given_by([-1] * 500 + list(range(49))), RULE)
    assert of(found)["-1"] == 2
    assert len(found.kept) == 51


def test_one_contributor_alone_gives_its_ten() -> None:
    """It has the whole of the fair shares; whether that is enough for a run is another question."""
    assert len(selected(given_by([0] * 500), RULE).kept) == 10


def test_the_limit_keeps_the_newest() -> None:
    """Rows come newest first and the first ones stay, up to the limit and to the rule's bound."""
    rows = given_by(list(range(20)))
    found = selected(rows, RULE, limit=3)
    assert [row.number for row in found.kept] == [0, 1, 2]
    assert found.left_out == {Reason.LIMIT: 17}
    assert len(selected(rows, RULE.model_copy(update={"max_pairs": 2}), limit=3).kept) == 2


@given(
    st.lists(st.integers(0, 6), max_size=120),
    st.sampled_from([0.0025, 0.05, 0.3, 1.0]),
    st.sampled_from([0.5, 1.0, 2.0, 100.0]),
    st.integers(1, 10),
    st.none() | st.integers(1, 60),
)
def test_the_caps_always_hold(
    owners: list[int], share: float, fair: float, most: int, limit: int | None
) -> None:
    """Whatever the mixture: each cap holds of the result, the order is kept, every row is accounted for."""
    rule = CurationRule(max_source_share=share, max_source_pairs=most, max_source_fair=fair)
    rows = given_by(owners)
    found = selected(rows, rule, limit=limit)
    pairs, contributors = len(found.kept), len(of(found))
    for count in of(found).values():
        assert count <= min(most, max(1, share * pairs + 1e-6, fair * pairs / contributors + 1e-6))
    assert [row.number for row in found.kept] == sorted(row.number for row in found.kept)
    assert pairs <= (limit or len(rows))
    assert pairs + sum(found.left_out.values()) == len(rows)
    assert {row.contributor for row in rows} == set(of(found)) or limit is not None


@given(st.lists(st.integers(0, 3), max_size=40), st.sampled_from([0.0025, 0.3]), st.sampled_from([1.0, 2.0]))
def test_no_higher_cap_would_fit(owners: list[int], share: float, fair: float) -> None:
    """Of all numbers that one contributor could give, the highest that fits its own result is taken."""
    rule = CurationRule(max_source_share=share, max_source_fair=fair)
    had = Counter(map(str, owners))

    def fits(cap: int) -> bool:
        pairs = sum(min(cap, count) for count in had.values())
        return cap <= max(1, share * pairs + 1e-9, fair * pairs / max(1, len(had)) + 1e-9)

    cap = max((cap for cap in range(1, 11) if fits(cap)), default=1)
    assert of(selected(given_by(owners), rule)) == {who: min(cap, count) for who, count in had.items()}


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ({}, ""),
        ({Reason.CONTRIBUTOR: 444}, "444 beyond what one contributor may give"),
        ({Reason.LIMIT: 0}, ""),
    ],
)
def test_what_is_left_out_is_said(left_out: dict[Reason, int], said: str) -> None:
    """Each reason with its count, and nothing where there is none."""
    assert told(left_out) == said


def test_every_reason_has_its_words() -> None:
    """A reason without words would be left out in silence."""
    assert all(told({why: 1}) for why in Reason)
