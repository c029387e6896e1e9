"""What a judgement concludes: a score, a preference, or an abstention with its reason. There is no default.

Scalar rewards are expected values, because a single integer ties too often to rank by. Comparisons are made
in both orders; where the orders contradict each other there is no choice, and that is not a tie.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import Any, Literal, Protocol

from policies.judging.grammar import Letter, PairReply, ScoreReply

Choice = Literal["a", "b", "tie"]

MIN_MASS = 0.5
"""Least probability that the alternatives at the score token must give to scores; the rest is no score."""

HALF_RANGE = 5.0
"""The largest standard deviation that values between 0 and 10 can have."""

_STATED = re.compile(r'(?:"score"\s*:\s*|SCORE ([0-9a-f]+): *)(?=[0-9])')
"""What stands before a stated score: the JSON key, or the sentinel with its code."""

CONFIDENCE_SPLIT = 0.5
CONFIDENCE_FLIP = 0.0
"""Confidence of a comparison that one order calls a tie, and of one whose orders contradict each other."""


@dataclass(frozen=True, slots=True)
class Scored:
    """An expected score, 0 to 10. `confidence` falls from 1 with its spread; None where nothing shows it."""

    value: float
    confidence: float | None = None
    scores: Mapping[str, Any] = field(default_factory=dict)
    critique: str = ""

    def reward(self, ceiling: float) -> float:
        """The value after the ceiling."""
        return min(self.value, ceiling)


@dataclass(frozen=True, slots=True)
class Preferred:
    """A comparison made in both orders. `choice` is None where the orders differ."""

    choice: Choice | None
    confidence: float
    flipped: bool = False
    scores: Mapping[str, Any] = field(default_factory=dict)
    critique: str = ""


@dataclass(frozen=True, slots=True)
class Abstained:
    """No verdict, and why."""

    reason: str


Verdict = Scored | Preferred | Abstained


class Token(Protocol):
    """A generated token and its alternatives: text to log-probability (nats)."""

    @property
    def token(self) -> str: ...

    @property
    def alternatives(self) -> Mapping[str, float]: ...


@dataclass(frozen=True, slots=True)
class ScoreSpread:
    """Mean and standard deviation of a score's distribution."""

    mean: float
    sd: float


def expected_score(tokens: Sequence[Token], *, score: float, nonce: str) -> ScoreSpread | None:
    """The score's distribution at the token that states it, over the alternatives that are scores.

    None, so that samples are asked for instead, where the token cannot be found, the number goes on in the
    next token, the score read from the text is another, or less than half of the probability is on scores.
    A tokenizer that splits 10 in two gives its share to 1: small, because the next token decides.
    (Liu et al. 2023, G-Eval; Lee et al. 2023, RLAIF: the sum of i times P(i).)
    """
    joined = "".join(token.token for token in tokens)
    found = [match for match in _STATED.finditer(joined) if match[1] in (None, nonce)]
    if not found:
        return None
    at = _token_at(tokens, found[-1].end())
    chosen = _score_of(tokens[at].token)
    goes_on = at + 1 < len(tokens) and tokens[at + 1].token[:1] in set("0123456789.eE")
    if chosen is None or chosen != score or goes_on:
        return None
    mass: dict[int, float] = {}
    for text, logprob in tokens[at].alternatives.items():
        value = _score_of(text)
        if value is not None and not math.isnan(logprob):
            mass[value] = mass.get(value, 0.0) + math.exp(min(logprob, 0.0))
    total = sum(mass.values())
    if total < MIN_MASS or chosen not in mass:
        return None
    mean = sum(value * share for value, share in mass.items()) / total
    variance = sum(share * (value - mean) ** 2 for value, share in mass.items()) / total
    return ScoreSpread(mean, math.sqrt(max(0.0, variance)))


def _token_at(tokens: Sequence[Token], offset: int) -> int:
    """The index of the token that holds the character at this offset of the joined text."""
    seen = 0
    for at, token in enumerate(tokens):
        seen += len(token.token)
        if seen > offset:
            return at
    raise AssertionError("the offset lies beyond the tokens")


def _score_of(text: str) -> int | None:
    stripped = text.strip()
    return int(stripped) if re.fullmatch(r"10|[0-9]", stripped, flags=re.ASCII) else None


def scored(replies: Sequence[ScoreReply], spread: ScoreSpread | None = None) -> Scored:
    """One verdict from the samples of a score, or from one answer whose distribution is known."""
    values = [reply.score for reply in replies]
    if spread is None:
        spread = ScoreSpread(fmean(values), pstdev(values)) if len(values) > 1 else None
    names = {name for reply in replies for name in reply.scores}
    return Scored(
        value=values[0] if spread is None else spread.mean,
        confidence=None if spread is None else max(0.0, 1 - spread.sd / HALF_RANGE),
        scores={
            name: round(fmean([reply.scores[name] for reply in replies if name in reply.scores]), 6)
            for name in sorted(names)
        },
        critique=replies[0].critique,
    )


def preferred(shown: PairReply, swapped: PairReply) -> Preferred:
    """One verdict from both orders: `shown` saw a as A, `swapped` saw b as A.

    Agreeing orders give the choice; its confidence is one half plus half the share of dimensions, over both
    orders, that favour the same answer. A against B is a flip: no choice, no confidence, and never a tie.
    """
    first, second = _choice(shown.verdict, swapped=False), _choice(swapped.verdict, swapped=True)
    by_dimension = {
        name: [_choice(shown.scores[name], swapped=False), _choice(swapped.scores[name], swapped=True)]
        for name in sorted(shown.scores.keys() & swapped.scores.keys())
    }
    critique = f"{shown.critique}\n\n{swapped.critique}".strip()
    if first != second:
        flipped = "tie" not in (first, second)
        confidence = CONFIDENCE_FLIP if flipped else CONFIDENCE_SPLIT
        return Preferred(None, confidence, flipped, by_dimension, critique)
    votes = [vote for pair in by_dimension.values() for vote in pair]
    share = votes.count(first) / len(votes) if votes else 1.0
    return Preferred(first, 0.5 + share / 2, False, by_dimension, critique)


def _choice(letter: Letter, *, swapped: bool) -> Choice:
    if letter == "tie":
        return "tie"
    return "a" if (letter == "A") != swapped else "b"


def rewarded(reward: float, *, by: str) -> Scored:
    """One verdict from a reward model's reward of an answer. `by` names the model's release."""
    return Scored(value=reward, critique=f"reward model {by}")


def by_rewards(a: float, b: float, *, by: str) -> Preferred:
    """One verdict from a reward model's rewards of two answers: the higher is preferred.

    The order in which they are shown changes neither, so there is no flip. Confidence is the probability that
    the preferred one is better, by the scale on which rewards are calibrated: a difference of two points is
    odds of e.
    """
    choice: Choice = "tie" if a == b else "a" if a > b else "b"
    confidence = 1 / (1 + math.exp(-abs(a - b) / 2))
    return Preferred(choice, confidence, False, {"reward": [a, b]}, f"reward model {by}")
