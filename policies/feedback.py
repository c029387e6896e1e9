"""Feedback that comes as an event of its own: late, on another topic, sometimes more than once."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from policies.records import Feedback, Frozen, Trace, digest


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


class FeedbackKind(StrEnum):
    """In which form something was said. Kinds are never summed: each is worth what the policy says."""

    THUMB = "thumb"
    RATING = "rating"
    EDIT = "edit"
    """The answer as its reader changed it for their own use."""
    CORRECTION = "correction"
    """The answer as somebody says that it should have been."""
    RETRY = "retry"
    """The same was asked once more."""
    REPHRASE = "rephrase"
    """Nearly the same was asked in other words, within the session."""
    COPY = "copy"
    ABANDON = "abandon"
    OTHER = "other"


CORRECTING = frozenset({FeedbackKind.EDIT, FeedbackKind.CORRECTION})
BEHAVIOUR = (FeedbackKind.COPY, FeedbackKind.ABANDON, FeedbackKind.RETRY, FeedbackKind.REPHRASE)
"""What users do rather than say, the plainest first."""
_BY_NAME = {kind.value: kind for kind in FeedbackKind}


def kind_of(name: str) -> FeedbackKind:
    """The kind that feedback of this name is of, where nothing else tells it."""
    return _BY_NAME.get(name.strip().casefold(), FeedbackKind.OTHER)


@dataclass(frozen=True, slots=True)
class Remark:
    """What was said of an answer, and as what kind it counts."""

    kind: FeedbackKind
    said: Feedback


class FeedbackEvent(Frozen):
    """What somebody said of an answer, told apart from the answer's own record.

    `id` is the event's own identity, unique together with `source`; `ts` is seconds since the epoch, UTC.
    `by` is who said it, as far as the log tells: whoever says something of the same name about the same
    target again has changed their mind. `correction` is the answer as it should have been. `said_as` is the
    kind where the log tells it; else the name does.
    """

    id: str = Field(min_length=1, max_length=512)
    source: str
    ts: float = Field(allow_inf_nan=False)
    about: About
    target: str = Field(min_length=1, max_length=512)
    said: Feedback
    by: str = Field(default="", max_length=512)
    correction: str | None = None
    said_as: FeedbackKind | None = None

    kind: ClassVar[str] = "feedback"

    @property
    def digest(self) -> str:
        """SHA-256 of the content without source and time: what is delivered twice is one."""
        content = self.model_dump(mode="json", exclude={"source", "ts"})
        if self.said_as is None:  # younger than stores that hold digests
            del content["said_as"]
        return digest(content)

    @property
    def form(self) -> FeedbackKind:
        """What kind of feedback it is."""
        told = self.said_as or kind_of(self.said.name)
        return FeedbackKind.CORRECTION if told is FeedbackKind.OTHER and self.correction else told


def in_force(events: Iterable[FeedbackEvent]) -> list[FeedbackEvent]:
    """Of what was said of one thing under one name by one author only the last, in order of time; of the same
    moment the one that comes later here.
    """
    last: dict[tuple[About, str, str, str], FeedbackEvent] = {}
    for event in sorted(events, key=lambda each: each.ts):
        last[event.about, event.target, event.said.name, event.by] = event
    return sorted(last.values(), key=lambda each: each.ts)


def of_answer(trace: Trace, events: Iterable[FeedbackEvent]) -> list[FeedbackEvent]:
    """All that is said of one answer and stands, oldest first: in its own record, and in events about it.

    Said again under the same name by the same author, by whichever of the answer's names, the last counts.
    What the record says is its user's, and was said at a time that nobody knows: an event of that user
    replaces it. What is said of a whole session is left out: nobody knows which of its answers is meant.
    """
    last: dict[tuple[str, str], FeedbackEvent] = {}
    for event in sorted(events, key=lambda each: each.ts):
        if event.about is not About.SESSION:
            last[event.said.name, _author(event, trace)] = event
    common = {"id": trace.id, "source": trace.source, "ts": trace.ts, "target": trace.id}
    own = [
        FeedbackEvent(about=About.EVENT, said=said, **common)
        for said in trace.feedback
        if (said.name, "") not in last
    ]
    return sorted([*own, *last.values()], key=lambda each: each.ts)


def _author(event: FeedbackEvent, trace: Trace) -> str:
    """Who said it; "": the answer's user, whether or not the log names them."""
    return "" if event.by == trace.subject else event.by
