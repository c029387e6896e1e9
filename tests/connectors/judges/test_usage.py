"""Numbers of tokens: read where they are numbers, estimated where they are not."""

import math

import pytest

from connectors.judges.usage import MOST, estimated, summed, tokens


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (0, 0),
        (60, 60),
        (60.2, 61),
        ("60", 60),
        (MOST, MOST),
        (MOST + 1, None),
        (-1, None),
        (True, None),
        (None, None),
        (math.nan, None),
        (math.inf, None),
        ("sixty", None),
        ("9" * 5_000, None),
        ([60], None),
    ],
)
def test_only_a_number_of_tokens_is_one(value: object, read: int | None) -> None:
    """What is booked and stored fits a database's integer, whoever wrote it."""
    assert tokens(value) == read


def test_a_sum_is_of_what_is_stated() -> None:
    """A part that is missing takes nothing from the others; none at all is not zero."""
    assert summed({"a": 5, "b": None, "c": "7"}, ("a", "b", "c", "d")) == 12
    assert summed({"b": None}, ("a", "b")) is None


def test_an_estimate_is_of_a_text_never_zero() -> None:
    """Money is counted by it."""
    assert (estimated(0), estimated(300)) == (1, 101)
