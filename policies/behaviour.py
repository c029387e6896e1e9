"""What a session's log shows of a user's mind without a word about it: the same asked once more, or anew.

A retry is the same prompt again; a rephrasing is a new turn that says nearly the same as the one before it.
Both are weak evidence against the answer between them, and kinds of their own. A copy, and a session that was
abandoned, are not to be seen in a log of answers: whoever sees them sends them as events.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from policies.curation import difference
from policies.feedback import FeedbackKind
from policies.records import Message, digest

MOST_DIFFERENT = 0.6
"""Share of the words (of both) in which a rephrasing may differ from what it rephrases."""
LEAST_WORDS = 3
"""Of a turn that can be called a rephrasing: "yes" after "yes, please" is an answer."""


MOST_CHARS = 2000
"""Of a turn, as far as it is compared."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A trace's prompt, as far as it is compared: in little room, however long the session is.

    `ts` is when it was, in seconds since the epoch. `said` and `turns` are digests, of all that was said
    without the system's part (in which a date may change), and of what the user said; `last` is their last
    turn.
    """

    event: str
    ts: float
    said: str
    turns: str
    last: str


def asked(event: str, ts: float, messages: Sequence[Message]) -> Asked:
    """What is compared of a prompt."""
    said = [message.model_dump(mode="json") for message in messages if message.role != "system"]
    turns = [message.content for message in messages if message.role == "user"]
    return Asked(event, ts, digest(said), digest(turns), turns[-1][:MOST_CHARS] if turns else "")


def behaviour(before: Asked, after: Asked, *, within_s: float) -> FeedbackKind | None:
    """What the later prompt of a session says of the answer to the earlier one; None: nothing.

    A step of a tool loop goes on with the same turns of the user, and says nothing.
    """
    if before.event == after.event or not 0 <= after.ts - before.ts <= within_s:
        return None
    if after.said == before.said:
        return FeedbackKind.RETRY
    if after.turns == before.turns or min(len(each.last.split()) for each in (before, after)) < LEAST_WORDS:
        return None
    differs = difference(before.last, after.last)
    return FeedbackKind.REPHRASE if differs <= MOST_DIFFERENT else None
