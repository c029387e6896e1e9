"""How an answer is read, in two ways that are kept apart on purpose.

`customer_score` is what the shop's customers feel. No judge, no reviewer and no gate ever sees it; only the
demo's table does. `rubric_view` is what can be read off the words: the simulated judges see it with noise and
a taste for length, the simulated reviewer almost plainly.
"""

import itertools
import math
import re
from typing import Final

from daemon.demo.world import (
    CLOSINGS,
    CURT_GREETINGS,
    GREETINGS,
    PROBLEMS,
    PRODUCTS,
    RUDE,
    STEPS,
    VAGUE_REMEDIES,
    understand,
)

# fmt: off
RUDE_WORDS: Final = frozenset((
    "fault", "terms", "whatever", "careful", "bothering", "cares", "complain", "tired", "cheap", "wonders",
))
POLITE_WORDS: Final = frozenset(("sorry", "thank", "thanks", "please", "kind", "nice"))
STEP_WORDS: Final = frozenset((
    "tracking", "link", "colleague", "call", "tomorrow", "reply", "order", "number",
))
# fmt: on
MAX_SENTENCES: Final = 5
_WORD: Final = re.compile(r"[a-z]+")


def _sentences(answer: str) -> list[str]:
    return [part.strip() for part in re.findall(r"[^.?!]+[.?!]?", answer) if part.strip()]


def customer_score(prompt: str, answer: str) -> float:
    """How content the customer is, 0 to 1. Only whole, sensible sentences count, and rudeness ends it.

    0.6 the remedy for this very problem and product, 0.2 a next step to it, 0.1 the product is named rightly,
    0.1 courtesy. Each sentence that is not plain language costs 40 % of the rest; so does rambling.
    """
    case = understand(prompt)
    sentences = _sentences(answer)
    if case is None or not sentences:
        return 0.0
    echo = case.problem.echo.format(p=case.product)
    remedy = case.problem.remedy.format(p=case.product)
    greetings = {form.format(echo=echo) for form in GREETINGS}
    known = greetings | {remedy} | set(CURT_GREETINGS) | set(VAGUE_REMEDIES) | set(STEPS) | set(CLOSINGS)
    if any(_words(sentence) & RUDE_WORDS for sentence in sentences):
        return 0.0
    said = set(sentences)
    solved = remedy in said
    score = 0.6 * solved + 0.2 * (solved and bool(said & set(STEPS)))
    score += 0.1 * bool(said & (greetings | {remedy}))
    score += 0.1 * bool(said & (greetings | set(CURT_GREETINGS) | set(CLOSINGS)))
    strange = sum(sentence not in known for sentence in sentences)
    strange += max(0, len(sentences) - MAX_SENTENCES) + len(sentences) - len(said)
    return score * math.pow(0.6, strange)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _vocabulary() -> frozenset[str]:
    texts = [*GREETINGS, *CURT_GREETINGS, *VAGUE_REMEDIES, *STEPS, *CLOSINGS, *RUDE, *PRODUCTS]
    texts += [part for problem in PROBLEMS for part in (problem.complaint, problem.echo, problem.remedy)]
    return frozenset(word for text in texts for word in _words(text))


VOCABULARY: Final = _vocabulary()


def rubric_view(prompt: str, answer: str) -> float:
    """What can be read off an answer's words, 0 to 10: relevance, remedy, next step, tone, plain language."""
    case = understand(prompt)
    words = _WORD.findall(answer.lower())
    if case is None or not words:
        return 0.0
    used = set(words)
    others = used & set(PRODUCTS) - {case.product}
    score: float = 1.5 * (case.product in used) - 1.5 * bool(others)
    score += 5.0 * len(used & case.problem.cues) / len(case.problem.cues)
    score += 2.0 * bool(used & STEP_WORDS) + 1.5 * bool(used & POLITE_WORDS)
    score -= 4.0 * bool(used & RUDE_WORDS)
    repeated = sum(a == b for a, b in itertools.pairwise(words))
    score -= 0.7 * (sum(word not in VOCABULARY for word in words) + repeated)
    score -= 0.7 * (not answer.rstrip().endswith((".", "?", "!")))
    return min(10.0, max(0.0, score))
