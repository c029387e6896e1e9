"""A session shows that somebody asked again, and says nothing where the agent only went on."""

import pytest

from policies.behaviour import MOST_CHARS, asked, behaviour
from policies.feedback import FeedbackKind
from policies.records import Message

QUESTION = "How do I reset the password of my account?"
OTHERWISE = "how can I reset the password for my account"


def prompt(event: str, ts: float, *turns: str, system: str = "Be brief.") -> tuple[str, float, list[Message]]:
    """User's and agent's turns, in turn."""
    messages = [Message(role="system", content=system)]
    roles = ("user", "assistant")
    messages += [Message(role=roles[at % 2], content=turn) for at, turn in enumerate(turns)]
    return event, ts, messages


@pytest.mark.parametrize(
    ("later", "wanted"),
    [
        (prompt("b", 5, QUESTION), FeedbackKind.RETRY),
        (prompt("b", 5, QUESTION, system="Be brief. It is Monday."), FeedbackKind.RETRY),
        (prompt("b", 5, OTHERWISE), FeedbackKind.REPHRASE),
        (prompt("b", 5, QUESTION, "Open settings.", OTHERWISE), FeedbackKind.REPHRASE),
        (prompt("b", 5, QUESTION, "Open settings.", QUESTION), FeedbackKind.REPHRASE),
        (prompt("b", 5, QUESTION, "[lookup {}]"), None),
        (prompt("b", 5, QUESTION, "Open settings.", "Thanks, and where is the bill?"), None),
        (prompt("b", 5, QUESTION, "Open settings.", "yes"), None),
        (prompt("b", 601, QUESTION), None),
        (prompt("b", -1, QUESTION), None),
        (prompt("a", 5, QUESTION), None),
    ],
)
def test_what_is_asked_again_speaks_of_the_answer_between(
    later: tuple[str, float, list[Message]], wanted: FeedbackKind | None
) -> None:
    """Soon after, by another event; a step of a tool loop and a new question say nothing."""
    before = asked(*prompt("a", 0.0, QUESTION))
    assert behaviour(before, asked(*later), within_s=600) is wanted


def test_a_prompt_is_kept_in_little_room() -> None:
    """However long the turn: strangers write it, and thousands of sessions are kept in mind."""
    assert len(asked(*prompt("a", 0.0, "word " * 1_000_000)).last) == MOST_CHARS
