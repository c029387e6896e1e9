"""Preference pairs of the support task by rule: what a judge without noise would make of a few answers.

The answers are form letters, good and bad, and what the real model said to other customers about the same
topic, with this customer's order number in the place of theirs.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from policies.records import Message, Sampled
from policies.snapshot import Pair
from tests.learning.judge import signs
from tests.learning.task import Request, requests

MARGIN: Final = 2.0
OPENINGS: Final = (
    "I am sorry about the {item}.",
    "Thank you for your message.",
    "I am happy to help with the {item}.",
)
CLOSINGS: Final = (
    "I look into the {topic} of order {order} today.",
    "My colleagues answer soon about order {order}.",
    "Order {order} is in good hands, and so is the {topic}.",
)
BAD: Final = (
    "I cannot help with that",
    "Please see our website for all questions of this kind, as others do",
    "The {item} is a good product. Many people like it, and many people buy it.",
)


@dataclass(frozen=True, slots=True)
class Heard:
    """What the model said to some customer."""

    request: Request
    answer: Sampled

    def said_to(self, other: Request) -> str:
        """The same to another customer."""
        return self.answer.messages[-1].content.replace(self.request.order, other.order)


def pairs(count: int, heard: Sequence[Heard], *, system: str | None = None, seed: int = 0) -> list[Pair]:
    """So many pairs. `system` replaces the task's system prompt. The same arguments give the same pairs."""
    chance = random.Random(f"lessons-{seed}")
    found: Iterator[Pair] = (
        pair
        for number, request in enumerate(requests(seed))
        if (pair := _pair(number, request, heard, system, chance)) is not None
    )
    return list(islice(found, count))


def _pair(
    number: int, request: Request, heard: Sequence[Heard], system: str | None, chance: random.Random
) -> Pair | None:
    """The best answer against the worst; None where they are too much alike."""
    same = [each for each in heard if each.request.topic == request.topic] or list(heard)
    said = chance.sample(same, min(2, len(same)))
    letters = [chance.choice(OPENINGS) + " " + chance.choice(CLOSINGS)] if number % 2 else []
    texts = [(form.format(item=request.item, topic=request.topic, order=request.order), False)
             for form in (*letters, chance.choice(BAD))]  # fmt: skip
    texts += [(each.said_to(request), each.answer.truncated) for each in said]
    worst = min(texts, key=lambda text: signs(request.text, text[0]))
    best = max((text for text in texts if not text[1]), key=lambda text: signs(request.text, text[0]))
    if signs(request.text, best[0]) - signs(request.text, worst[0]) < MARGIN or not worst[0]:
        return None
    prompt = (
        request.prompt if system is None else (Message(role="system", content=system), request.prompt[-1])
    )
    return Pair(
        preference=number,
        prompt=prompt,
        chosen=(Message(role="assistant", content=best[0]),),
        rejected=(Message(role="assistant", content=worst[0]),),
        rejected_truncated=worst[1],
        soft=0.9,
    )
