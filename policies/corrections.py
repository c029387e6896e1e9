"""What people wrote in the place of an answer: which of it stands, and the pair that it makes.

An edit or a correction is the best evidence there is for training: both answers are to one prompt, and a
person says which is the better one. It is worth what the policy says of its kind; it is no label.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from policies.curation import NoPreference, difference
from policies.feedback import CORRECTING, FeedbackEvent, FeedbackKind
from policies.judging.prompts import MAX_ANSWER
from policies.records import Message, digest
from policies.worth import FeedbackRule


@dataclass(frozen=True, slots=True)
class Corrected:
    """A person's text in the place of the logged answer. `key` tells it from others of the same answer."""

    key: str
    text: str
    output: tuple[Message, ...]


def standing(said: Iterable[FeedbackEvent], logged: tuple[Message, ...]) -> list[Corrected]:
    """The corrections among what is said of an answer and stands, each text once, the plainest kind first.

    The answer's last message is replaced; what it did before (calls and their results) stays.
    """
    before = logged[:-1] if logged[-1].role == "assistant" else logged
    found: dict[str, Corrected] = {}
    for event in sorted(said, key=lambda each: each.form is FeedbackKind.EDIT):
        text = (event.correction or "").strip()
        if text and text not in found:
            kind = event.form if event.form in CORRECTING else FeedbackKind.CORRECTION
            output = (*before, Message(role="assistant", content=text))
            found[text] = Corrected(f"{kind.value}:{digest(text)[:32]}", text, output)
    return list(found.values())


def weight_of(key: str, rule: FeedbackRule) -> float:
    """What a correction with this key is worth; one that came by another way than feedback is worth 1."""
    kind = key.partition(":")[0]
    return rule.weights[FeedbackKind(kind)] if kind in CORRECTING else 1.0


def pairing(corrected: str, logged: str, *, unshown: bool) -> float | NoPreference:
    """The share of the words in which a correction differs from what it corrects, or why they are no pair.

    However little it is: a person found it worth changing.
    """
    if unshown:
        return NoPreference("a part of the answer cannot be shown as text, and its placeholder is no answer")
    if max(len(corrected), len(logged)) > MAX_ANSWER:
        return NoPreference(f"an answer is longer than {MAX_ANSWER} characters")
    if corrected == logged.strip():
        return NoPreference("the correction is the answer itself")
    return difference(corrected, logged)
