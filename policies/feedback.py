"""Feedback that comes as an event of its own: late, on another topic, sometimes more than once."""

from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from policies.records import Feedback, Frozen, digest


class About(StrEnum):
    """What feedback is about, by what its target names."""

    EVENT = "event"
    """A trace by the id of its event (a response's id)."""
    SPAN = "span"
    """A trace by the span it came from, as `TRACE:SPAN`."""
    TRACE = "trace"
    """Every answer of one trace of spans."""
    SESSION = "session"
    """Every answer of one session."""


class FeedbackEvent(Frozen):
    """What somebody said of an answer, told apart from the answer's own record.

    `id` is the event's own identity, unique together with `source`; `ts` is seconds since the epoch, UTC.
    `by` is who said it, as far as the log tells: whoever says something of the same name about the same
    target again has changed their mind. `correction` is the answer as it should have been.
    """

    id: str = Field(min_length=1, max_length=512)
    source: str
    ts: float = Field(allow_inf_nan=False)
    about: About
    target: str = Field(min_length=1, max_length=512)
    said: Feedback
    by: str = Field(default="", max_length=512)
    correction: str | None = None

    kind: ClassVar[str] = "feedback"

    @property
    def digest(self) -> str:
        """SHA-256 of the content without source and time: what is delivered twice is one."""
        return digest(self.model_dump(mode="json", exclude={"source", "ts"}))


def in_force(events: Iterable[FeedbackEvent]) -> list[FeedbackEvent]:
    """Of what was said of one thing under one name by one author only the last, in order of time; of the same
    moment the one that comes later here.
    """
    last: dict[tuple[About, str, str, str], FeedbackEvent] = {}
    for event in sorted(events, key=lambda each: each.ts):
        last[event.about, event.target, event.said.name, event.by] = event
    return sorted(last.values(), key=lambda each: each.ts)
