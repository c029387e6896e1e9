"""What a simulated judge thinks: the rubric's view of an answer, blurred, with a taste for length or brevity.

An opinion is a function of (seed, judge, prompt, answer) and of nothing else: asking again, or showing the
answers the other way round, gives the same. Only a small pull towards one place is added to comparisons, so
that some verdicts flip with the order.
"""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from daemon.demo.scores import rubric_view

Letter = Literal["A", "B", "tie"]
TYPICAL_LENGTH: Final = 70
SPREAD: Final = 0.8
"""Standard deviation, in points, of the distribution that a judge gives for its score."""


@dataclass(frozen=True, slots=True)
class Temper:
    """How a simulated judge differs from the rubric. All in points of 0-10."""

    noise: float
    """Standard deviation of its blur."""
    per_10_characters: float
    """What ten characters more are worth to it."""
    first_place: float
    """What it adds to the answer shown first."""
    indifference: float
    """The difference below which it calls a tie."""


TEMPERS: Final = {
    "simulated-small": Temper(noise=1.5, per_10_characters=0.3, first_place=0.4, indifference=0.5),
    "simulated-large": Temper(noise=0.8, per_10_characters=0.1, first_place=0.2, indifference=0.5),
    "simulated-gate": Temper(noise=0.9, per_10_characters=-0.1, first_place=-0.3, indifference=0.5),
}
"""The judges there are, by model name."""


@dataclass(frozen=True, slots=True)
class SimulatedJudge:
    """One simulated judge."""

    model: str
    seed: int

    @property
    def temper(self) -> Temper:
        return TEMPERS[self.model]

    def opinion(self, prompt: str, answer: str) -> float:
        """Its score of an answer, not rounded, 0 to 10."""
        chance = random.Random(json.dumps([self.seed, self.model, prompt, answer]))
        taste = self.temper.per_10_characters * (len(answer) - TYPICAL_LENGTH) / 10
        blurred = rubric_view(prompt, answer) + chance.gauss(0.0, self.temper.noise) + taste
        return min(10.0, max(0.0, blurred))

    def verdict(self, prompt: str, shown: Sequence[str]) -> Letter:
        """Which of two answers it prefers, as they are shown."""
        lead = self.opinion(prompt, shown[0]) + self.temper.first_place - self.opinion(prompt, shown[1])
        if abs(lead) < self.temper.indifference:
            return "tie"
        return "A" if lead > 0 else "B"


def distribution(opinion: float) -> dict[int, float]:
    """The probabilities of the scores 0 to 10 whose mean is close to the opinion."""
    weights = {score: math.exp(-((score - opinion) ** 2) / (2 * SPREAD**2)) for score in range(11)}
    total = sum(weights.values())
    return {score: weight / total for score, weight in weights.items()}


def critique(prompt: str, answer: str) -> str:
    """A sentence about an answer, as the rubric's view has it."""
    view = rubric_view(prompt, answer)
    if view >= 7:
        return "It names the product, solves the problem and stays polite."
    if view >= 4:
        return "It is willing, but leaves out the remedy, the product or the next step."
    return "It does not help: rude, off the point or hard to read."


def score_reply(
    judge: SimulatedJudge, prompt: str, answer: str, dimensions: Sequence[str]
) -> tuple[dict[str, Any], int]:
    """The JSON object for one answer, keys in the order of the grammar, and its score."""
    score = max(0, min(10, round(judge.opinion(prompt, answer))))
    reply = {
        "critique": critique(prompt, answer),
        "scores": dict.fromkeys(dimensions, score),
        "score": score,
    }
    return reply, score


def pair_reply(
    judge: SimulatedJudge, prompt: str, shown: Sequence[str], dimensions: Sequence[str]
) -> dict[str, Any]:
    """The JSON object for two answers, keys in the order of the grammar."""
    verdict = judge.verdict(prompt, shown)
    first, second = (critique(prompt, answer) for answer in shown)
    return {
        "critique": f"A: {first} B: {second}",
        "scores": dict.fromkeys(dimensions, verdict),
        "verdict": verdict,
    }
