"""The held-out checker: how well an answer does what the system prompt and the customer ask for, 0 to 1.

No judge and no reviewer knows this module. It rewards no style by itself: an answer that does not both name
the order and speak of what was asked scores nothing, however polite. What the customer wrote, repeated, is no
answer.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.learning.task import Request

ANSWERING: Final[Mapping[str, str]] = {
    "refund": r"refund|money back|reimburs|pay(ing)? (you )?back",
    "exchange": r"exchang|swap|another colou?r|replac",
    "cancel": r"cancel",
    "address": r"address",
    "invoice": r"invoice|receipt|\bbill\b",
    "delivery": r"deliver|arriv|parcel|ship|track|on its way",
    "damage": r"damag|crack|broken|repair|replac",
    "warranty": r"warrant|guarantee|repair|cover(ed|s)\b",
    "return": r"return|send (it|the \w+) back",
    "payment": r"payment|charge|\bpaid\b",
    "manual": r"manual|instruction|\bguide\b",
    "gift": r"gift|wrap",
}
"""What an answer to each topic speaks of."""
MOST_OTHERS: Final = 2
"""An answer that speaks of more other topics than this answers none in particular."""
MOST_SENTENCES: Final = 2
ECHO: Final = 0.7
"""Share of an answer's words from which on they are the customer's own."""
ECHO_RUN: Final = 7
"""Words of the customer in a row that make an answer an echo."""
_POLITE: Final = re.compile(
    r"\b(please|thank|sorry|apolog|happy to|glad to|appreciate|welcome)", re.IGNORECASE
)
_MARKUP: Final = re.compile(r"[\n*#`|<>{}\[\]_@]|https?:|www\.|^\s*([-•]|\d+[.)])\s")
_WORD: Final = re.compile(r"[a-z]+|\d+")


@dataclass(frozen=True, slots=True)
class Checked:
    """Which demands an answer meets."""

    order: bool
    """The order number stands in it, as a number of its own."""
    topic: bool
    """It speaks of what was asked, and not of everything."""
    own_words: bool
    """It is not the customer's message repeated."""
    short: bool
    """One sentence or two."""
    polite: bool
    ended: bool
    """It ends like a sentence."""
    no_other_number: bool
    plain: bool
    """No list, markup, address or placeholder, on one line."""

    @property
    def score(self) -> float:
        """The share of the formal demands that are met; nothing without the substance, all of it."""
        substance = self.order and self.topic and self.own_words
        form = (self.short, self.polite, self.ended, self.no_other_number, self.plain)
        return substance * sum(form) / len(form)


def check(request: Request, answer: str) -> Checked:
    """Looks at one answer to a request."""
    text = answer.strip()
    numbers = re.findall(r"\d+", text)
    spoken_of = {topic for topic, words in ANSWERING.items() if re.search(words, text, re.IGNORECASE)}
    return Checked(
        order=request.order in numbers,
        topic=request.topic in spoken_of and len(spoken_of) <= 1 + MOST_OTHERS,
        own_words=_own_words(request.text, text),
        short=1 <= len(_sentences(text)) <= MOST_SENTENCES,
        polite=_POLITE.search(text) is not None,
        ended=text.endswith((".", "!", "?")),
        no_other_number=all(number == request.order for number in numbers),
        plain=_MARKUP.search(text) is None,
    )


def _own_words(message: str, answer: str) -> bool:
    theirs, said = _WORD.findall(message.lower()), _WORD.findall(answer.lower())
    runs = {tuple(theirs[at : at + ECHO_RUN]) for at in range(len(theirs) - ECHO_RUN + 1)}
    if any(tuple(said[at : at + ECHO_RUN]) in runs for at in range(len(said))):
        return False
    return bool(said) and sum(word in theirs for word in said) < ECHO * len(said)


def _sentences(text: str) -> list[str]:
    return [part for part in re.split(r"[.!?]+(?:\s+|$)", text) if part.strip()]
