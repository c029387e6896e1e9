"""Customers' thumbs in the demo's log: few click, and more of those who are not content.

A click is a function of (seed, prompt, answer) and of nothing else. It follows what can be read off an
answer, as reviewers do, and not the customer score that the demo measures by.
"""

import json
import random
from typing import Any, Final

from daemon.demo.scores import rubric_view

CONTENT: Final = 5.0
"""Points from which a customer is content."""
NOISE: Final = 1.5
"""Standard deviation of a customer's mood, in points."""
CLICKS: Final = {True: 0.15, False: 0.3}
"""Share of the content, and of the others, who click."""


def clicked(prompt: str, answer: str, seed: int) -> list[dict[str, Any]]:
    """The event's `feedback`: one thumb, or none."""
    chance = random.Random(json.dumps([seed, "click", prompt, answer]))
    content = rubric_view(prompt, answer) + chance.gauss(0.0, NOISE) >= CONTENT
    if chance.random() >= CLICKS[content]:
        return []
    return [{"name": "thumb", "score": int(content)}]
