"""The simulated judges and the simulated reviewer. No model and no person is behind them, and they say so.

All see an answer by the same few signs that can be read off it: whether the order number is in it, courtesy,
how many words it has, whether it shares a word with the customer's message, how it ends. They see them
through noise, and the judges with a taste for length or brevity. Of sentences, invented numbers, markup, and
of what was really asked for they know nothing.
"""

import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from policies.judging.grammar import Letter
from policies.judging.prompts import ParsedCase
from policies.records import Role
from tests.servers.judge import JudgeServer

REVIEWER: Final = "simulated-reviewer"
REASON: Final = "simulated: no person looked at this pair"
TYPICAL_LENGTH: Final = 120
SPREAD: Final = 0.8
"""Standard deviation, in points, of the distribution that a judge gives for its score."""
MOST_WORDS: Final = 35
_COURTESY: Final = frozenset(
    ("please", "thank", "thanks", "sorry", "apologize", "apologise", "happy", "glad")
)

_EVERYBODYS: Final = frozenset(("order", "ordered", "number", "hello", "please", "have", "that", "still"))
"""Words that say nothing of what a message is about."""


@dataclass(frozen=True, slots=True)
class Temper:
    """How a simulated judge differs from what can be read off an answer. All in points of 0-10."""

    noise: float
    """Standard deviation of its blur."""
    per_10_characters: float
    """What ten characters more are worth to it."""
    first_place: float
    """What it adds to the answer shown first."""
    indifference: float
    """The difference below which it calls a tie."""


TEMPERS: Final[Mapping[Role, Temper]] = {
    Role.SMALL: Temper(noise=1.2, per_10_characters=0.12, first_place=0.4, indifference=0.5),
    Role.LARGE: Temper(noise=0.8, per_10_characters=0.08, first_place=0.3, indifference=0.5),
    Role.GATE: Temper(noise=0.8, per_10_characters=-0.08, first_place=-0.3, indifference=0.5),
}
REVIEWERS: Final = Temper(noise=0.6, per_10_characters=0.0, first_place=0.0, indifference=1.5)


def signs(message: str, answer: str) -> float:
    """What can be read off an answer, 0 to 10."""
    order = re.search(r"\d{5}", message)
    said, asked = _words(answer), _words(message)
    points = 3.5 * (order is not None and order[0] in answer)
    points += 1.5 * bool(set(said) & _COURTESY)
    points += 1.5 * (0 < len(said) <= MOST_WORDS)
    points += 2.5 * any(len(word) > 3 for word in set(said) & set(asked) - _EVERYBODYS)
    return points + 1.0 * answer.rstrip().endswith((".", "!", "?"))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


@dataclass(frozen=True, slots=True)
class Judge:
    """One simulated judge. Its opinion is a function of (seed, name, message, answer) and of nothing else."""

    name: str
    temper: Temper
    seed: int

    def opinion(self, message: str, answer: str) -> float:
        """Its score of an answer, not rounded, 0 to 10."""
        chance = random.Random(json.dumps([self.seed, self.name, message, answer]))
        taste = self.temper.per_10_characters * (len(answer) - TYPICAL_LENGTH) / 10
        return min(10.0, max(0.0, signs(message, answer) + chance.gauss(0.0, self.temper.noise) + taste))

    def lead(self, message: str, shown: Sequence[str]) -> float:
        """By how much it prefers the first of two answers; 0 where it is indifferent."""
        lead = self.opinion(message, shown[0]) + self.temper.first_place - self.opinion(message, shown[1])
        return lead if abs(lead) >= self.temper.indifference else 0.0

    def score(self, case: ParsedCase) -> int:
        """Its score of the answer of a case."""
        return round(self.opinion(_message(case), case.answers[0]))

    def verdict(self, case: ParsedCase) -> Letter:
        """Which answer of a case it prefers, as they are shown."""
        lead = self.lead(_message(case), case.answers)
        return "tie" if lead == 0 else "A" if lead > 0 else "B"


def _message(case: ParsedCase) -> str:
    return next(turn.text for turn in reversed(case.turns) if turn.role == "user")


def distribution(score: int) -> dict[str, float]:
    """Log-probabilities of the scores 0 to 10 around a score."""
    weights = {value: math.exp(-((value - score) ** 2) / (2 * SPREAD**2)) for value in range(11)}
    total = sum(weights.values())
    return {str(value): math.log(max(weight / total, 1e-9)) for value, weight in weights.items()}


@contextmanager
def serving(seed: int) -> Iterator[dict[Role, str]]:
    """The judges on loopback while inside: their OpenAI-compatible addresses by role."""
    with ExitStack() as stack:
        urls = {}
        for role, temper in TEMPERS.items():
            judge = Judge(f"simulated-{role.value}", temper, seed)
            server = JudgeServer(
                score=judge.score, verdict=judge.verdict, alternatives=distribution, model=judge.name
            )
            urls[role] = stack.enter_context(server).openai_url
        yield urls


@dataclass(frozen=True, slots=True)
class Reviewed:
    """How many pairs the reviewer answered, and in how many it preferred one."""

    pairs: int
    decided: int


def review(tasks: Path, labels: Path, seed: int) -> Reviewed:
    """Answers every pair of `rlaifd review export` and writes the file for `rlaifd review import`."""
    reviewer = Judge(REVIEWER, REVIEWERS, seed)
    lines, decided = [], 0
    for line in tasks.read_text(encoding="utf-8").splitlines():
        task = json.loads(line)
        message = next(turn["content"] for turn in reversed(task["messages"]) if turn["role"] == "user")
        lead = reviewer.lead(message, (task["answer_1"], task["answer_2"]))
        choice: Literal["1", "2", "tie"] = "tie" if lead == 0 else "1" if lead > 0 else "2"
        decided += lead != 0
        lines.append(json.dumps({"pair": task["pair"], "choice": choice, "reason": REASON}) + "\n")
    labels.write_text("".join(lines), encoding="utf-8")
    return Reviewed(len(lines), decided)
