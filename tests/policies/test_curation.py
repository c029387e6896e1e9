"""Preferences come from one judge's view of a train prompt."""

from dataclasses import replace

import pytest

from policies.curation import (
    Judged,
    JudgedPrompt,
    NoPreference,
    Preference,
    Score,
    difference,
    preference_of,
    review_pairs,
)
from policies.policy import CurationRule
from policies.records import Role, Split

RULE = CurationRule()
TEXTS = ("we will refund you today", "go away", "perhaps later", "no idea at all")


def small(verdict: int, reward: float, version: str = "v1") -> Score:
    return Score(verdict, "small", Role.SMALL, version, reward)


def large(verdict: int, reward: float) -> Score:
    return Score(verdict, "large", Role.LARGE, "big", reward)


def prompt(
    *scores: tuple[Score, ...], split: Split = Split.TRAIN, texts: tuple[str, ...] = TEXTS
) -> JudgedPrompt:
    judged = tuple(
        Judged(index, text, found) for index, (text, found) in enumerate(zip(texts, scores, strict=False), 1)
    )
    return JudgedPrompt(1, "cluster", split, "subject:1", judged)


def made(found: Preference | NoPreference) -> Preference:
    assert isinstance(found, Preference), found
    return found


def test_best_is_preferred_to_worst() -> None:
    """The pair is the widest one, with its margin and the verdicts it came from."""
    found = made(preference_of(prompt((small(1, 6),), (small(2, 2),), (small(3, 9),)), RULE))
    assert (found.chosen_id, found.rejected_id, found.margin, found.verdict_ids) == (3, 2, 7.0, (3, 2))
    assert 0.9 < found.soft < 1


@pytest.mark.parametrize("unshown", [0, 1])
def test_an_answer_with_a_placeholder_is_in_no_pair(unshown: int) -> None:
    """Neither to be learnt nor to be unlearnt: its text is not what the agent said."""
    asked = prompt((small(1, 9),), (small(2, 1),), (small(3, 5),))
    judged = [replace(each, unshown=index == unshown) for index, each in enumerate(asked.candidates)]
    found = made(preference_of(replace(asked, candidates=tuple(judged)), RULE))
    assert {found.chosen_id, found.rejected_id} == {1, 2, 3} - {unshown + 1}
    none = preference_of(replace(asked, candidates=tuple(judged[:2])), RULE)
    assert none == NoPreference(
        "a part of the answer cannot be shown as text, and its placeholder is no answer"
    )


@pytest.mark.parametrize("split", [Split.GATE, Split.AUDIT, Split.CALIBRATE])
def test_no_other_split_ever_gives_a_pair(split: Split) -> None:
    """What measures must not teach."""
    found = preference_of(prompt((small(1, 9),), (small(2, 1),), split=split), RULE)
    assert found == NoPreference(f"the cluster is in the {split.value} split")


def test_scores_of_two_versions_are_never_compared() -> None:
    """Each candidate was scored, but not by the same judge."""
    found = preference_of(prompt((small(1, 9, "v1"),), (small(2, 1, "v2"),)), RULE)
    assert isinstance(found, NoPreference)


def test_the_newest_shared_version_counts() -> None:
    """Where two versions scored both, the older one's view is dropped."""
    found = made(
        preference_of(
            prompt((small(1, 9, "v1"), small(3, 1, "v2")), (small(2, 1, "v1"), small(4, 8, "v2"))), RULE
        )
    )
    assert (found.chosen_id, found.verdict_ids) == (2, (4, 3))


def test_the_large_judge_outranks_the_small_where_it_scored_both() -> None:
    """The small judge's opposite view does not count, nor does a large score of one answer alone."""
    both = prompt((small(1, 9), large(3, 2)), (small(2, 1), large(4, 8)))
    assert made(preference_of(both, RULE)).chosen_id == 2
    one = prompt((small(1, 9), large(3, 2)), (small(2, 1),))
    assert made(preference_of(one, RULE)).chosen_id == 1


def test_the_gate_judge_never_teaches() -> None:
    """Scores of the gate's judge make no training data."""
    gate = [Score(index, "gate", Role.GATE, "g", reward) for index, reward in ((1, 9.0), (2, 1.0))]
    assert isinstance(preference_of(prompt((gate[0],), (gate[1],)), RULE), NoPreference)


def test_abstentions_are_left_out() -> None:
    """A candidate without a score is neither best nor worst."""
    found = made(preference_of(prompt((), (small(2, 2),), (small(3, 9),)), RULE))
    assert {found.chosen_id, found.rejected_id} == {2, 3}
    assert isinstance(preference_of(prompt((), (small(2, 2),)), RULE), NoPreference)


def test_a_small_margin_gives_no_pair() -> None:
    """Two points apart is the least."""
    assert isinstance(preference_of(prompt((small(1, 5),), (small(2, 6.9),)), RULE), NoPreference)
    made(preference_of(prompt((small(1, 5),), (small(2, 7),)), RULE))


def test_near_copies_give_no_pair() -> None:
    """The same words in other case and order differ in nothing."""
    found = preference_of(
        prompt((small(1, 9),), (small(2, 1),), texts=("Thank you so much", "so much  thank YOU")), RULE
    )
    assert isinstance(found, NoPreference)
    assert "differ by 0.0%" in found.reason


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("", "", 0.0), ("a b", "", 1.0), ("a b", "c d", 1.0), ("a b c", "a b d", 0.5), ("a a", "a", 0.5)],
)
def test_difference_is_the_share_of_words(one: str, other: str, expected: float) -> None:
    """Counted with repetitions."""
    assert difference(one, other) == pytest.approx(expected)


def test_review_pairs_are_drawn_with_a_known_probability() -> None:
    """Four of the five that differ, the same ones each time, lower id first."""
    texts = {4: "one", 1: "two", 3: "three", 2: "two "}
    pairs, probability = review_pairs(texts, salt="event", limit=4)
    assert (pairs, probability) == review_pairs(dict(sorted(texts.items())), salt="event", limit=4)
    assert probability == pytest.approx(4 / 5)
    assert all(a < b for a, b in pairs)
    assert (1, 2) not in pairs
    assert review_pairs({1: "same", 2: "same"}, salt="event", limit=4) == ((), 0.0)
