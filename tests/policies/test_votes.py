"""Labels are an answer and how sure it is."""

from collections.abc import Sequence

import pytest

from policies.alignment import Choice
from policies.votes import RIGHT, settled


@pytest.mark.parametrize(
    ("said", "side", "soft"),
    [
        (["a"], "a", RIGHT),
        (["b", "b"], "b", 81 / 82),
        (["a", "a", "b"], "a", RIGHT),
        (["b", "b", "tie"], "b", 81 / 82),
    ],
)
def test_the_difference_of_the_votes_says_how_sure_they_are(
    said: Sequence[Choice], side: str, soft: float
) -> None:
    """One person is right in nine of ten; two who agree, in 81 of 82; a contradiction takes back a vote."""
    found = settled(said)
    assert found is not None
    assert found[0] == side
    assert found[1] == pytest.approx(soft)


@pytest.mark.parametrize("said", [[], ["tie"], ["a", "b"], ["a", "tie"], ["a", "a", "b", "tie", "tie"]])
def test_without_a_majority_nothing_is_settled(said: Sequence[Choice]) -> None:
    """As alignment decides it: more than half must prefer the same answer."""
    assert settled(said) is None
