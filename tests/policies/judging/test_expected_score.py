"""The expected score is read from the tokens that a judge might have said instead."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from policies.judging.verdicts import expected_score

NONCE = "0123456789abcdef"


@dataclass
class Said:
    """A token as a judge's client reports it."""

    token: str
    alternatives: Mapping[str, float] = field(default_factory=dict)


def tokens(*texts: str, at: int, weights: Mapping[str, float]) -> list[Said]:
    said = [Said(text, {text: 0.0}) for text in texts]
    said[at] = Said(texts[at], {text: math.log(weight) for text, weight in weights.items()})
    return said


JSON_TOKENS = ('{"critique": "the \\"score\\": 9 is', ' claimed", "scores": {}, ', '"score"', ":", " 7", "}")


def test_the_expected_score_is_over_the_alternatives() -> None:
    """Sum of i times P(i), renormalised, spaces ignored, other tokens left out."""
    said = tokens(*JSON_TOKENS, at=4, weights={" 7": 0.5, "8": 0.25, " 9": 0.05, " good": 0.2})
    spread = expected_score(said, score=7, nonce=NONCE)
    assert spread is not None
    assert spread.mean == pytest.approx((7 * 0.5 + 8 * 0.25 + 9 * 0.05) / 0.8)
    assert 0 < spread.sd < 1


def test_the_expected_score_reads_the_sentinel_too() -> None:
    """Prose with the code's line."""
    said = tokens("ok\nSCORE ", f"{NONCE}:", " ", "10", at=3, weights={"10": 0.9, "9": 0.1})
    spread = expected_score(said, score=10, nonce=NONCE)
    assert spread is not None
    assert spread.mean == pytest.approx(9.9)


@pytest.mark.parametrize(
    ("texts", "at", "weights"),
    [
        (('{"score":', " 1", "0", "}"), 1, {" 1": 1.0}),
        (('{"score":', " 7", ".5", "}"), 1, {" 7": 1.0}),
        (('{"score": 7', "}"), 0, {'{"score": 7': 1.0}),
        (('{"score":', " 7", "}"), 1, {" 7": 0.1, " seven": 0.9}),
        (('{"score":', " 7", "}"), 1, {" 8": 1.0}),
        (('{"score":', " 8", "}"), 1, {" 8": 1.0}),
        (('{"verdict":', ' "A"', "}"), 1, {' "A"': 1.0}),
    ],
)
def test_where_the_token_says_no_score_there_is_no_expectation(
    texts: tuple[str, ...], at: int, weights: dict[str, float]
) -> None:
    """A number that goes on, too little mass, another score than the text's: None."""
    assert expected_score(tokens(*texts, at=at, weights=weights), score=7, nonce=NONCE) is None


def test_no_tokens_no_expectation() -> None:
    """A judge that sends none."""
    assert expected_score([], score=7, nonce=NONCE) is None
