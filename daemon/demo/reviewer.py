"""The simulated reviewer: answers the pairs of `rlaifd review export`. No person looks at them.

It compares what can be read off the answers, with some noise, and calls nearly equal answers a tie.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from daemon.demo.scores import rubric_view

NAME: Final = "simulated-reviewer"
REASON: Final = "simulated: no person looked at this pair"
NOISE: Final = 0.8
"""Standard deviation of its blur, in points of 0-10."""
INDIFFERENCE: Final = 1.2
"""The difference below which it calls a tie."""


@dataclass(frozen=True, slots=True)
class LabelCount:
    """How many pairs it answered, and in how many it preferred one."""

    pairs: int
    decided: int


def choose(prompt: str, first: str, second: str, seed: int) -> Literal["1", "2", "tie"]:
    """Which of two answers it prefers; the same whichever comes first."""
    lead = _worth(prompt, first, seed) - _worth(prompt, second, seed)
    if abs(lead) < INDIFFERENCE:
        return "tie"
    return "1" if lead > 0 else "2"


def review(tasks: Path, labels: Path, seed: int) -> LabelCount:
    """Answers every exported pair and writes the file for `rlaifd review import`."""
    decided = 0
    lines = []
    for line in tasks.read_text(encoding="utf-8").splitlines():
        task = json.loads(line)
        prompt = next(turn["content"] for turn in reversed(task["messages"]) if turn["role"] == "user")
        choice = choose(prompt, task["answer_1"], task["answer_2"], seed)
        decided += choice != "tie"
        lines.append(json.dumps({"pair": task["pair"], "choice": choice, "reason": REASON}))
    labels.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return LabelCount(len(lines), decided)


def _worth(prompt: str, answer: str, seed: int) -> float:
    chance = random.Random(json.dumps([seed, NAME, prompt, answer]))
    return rubric_view(prompt, answer) + chance.gauss(0.0, NOISE)
