"""Spans: the parts of a trace that come by themselves, and when all of them are there.

A span of a model's call holds what a trace does; what is said once for a whole trace (its session, its
subject) often stands on another span than the call's. One span may itself come in parts: what it was is on
the span, what was said on log records of its own.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field

from policies.records import Frozen, Message, TokenUsage, digest

MAX_ID = 255
"""Characters of a trace's and of a span's id: both together are an event's id."""
WHOLE = "span"
"""The part of a span that is the span itself."""


class Piece(Frozen):
    """One message of a call that was logged by itself. `at_ns` (since the epoch) and `number` are its place
    among the others, `key` tells it from them: of one that comes again there is one.

    `choice` is which of the answers it is; None: it belongs to what was asked.
    """

    at_ns: int
    number: int
    key: str
    message: Message
    choice: int | None = None


class Span(Frozen):
    """One span, or a part of one (`part` says which). `ts` is its start and `ended_at` its end, seconds since
    the epoch, UTC; None: it has not ended, or the log does not say. `parent_id` None: it is the root of its
    trace, or a part that does not know.

    With `messages` and `output` it is a call of a model: an answer of the agent; `choices` are more answers
    to the same. `event_id` is then the response's own id, where it has one. `called`: it is a call, whether
    or not its content is here. `incomplete`: what the model was asked is not all in the log.
    """

    trace_id: str = Field(min_length=1, max_length=MAX_ID)
    span_id: str = Field(min_length=1, max_length=MAX_ID)
    part: str = Field(default=WHOLE, min_length=1, max_length=64)
    parent_id: str | None = None
    source: str
    ts: float = Field(allow_inf_nan=False)
    ended_at: float | None = Field(default=None, allow_inf_nan=False)
    event_id: str | None = Field(default=None, min_length=1, max_length=512)
    messages: tuple[Message, ...] = ()
    output: tuple[Message, ...] = ()
    choices: tuple[tuple[Message, ...], ...] = ()
    pieces: tuple[Piece, ...] = ()
    model: str | None = None
    adapter: str | None = None
    agent_version: str | None = None
    session: str | None = None
    subject: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    usage: TokenUsage | None = None
    called: bool = False
    truncated: bool = False
    unshown: bool = False
    incomplete: bool = False

    kind: ClassVar[str] = "span"

    @property
    def id(self) -> str:
        """The id of the trace that it becomes: the response's, else both of its own."""
        return self.event_id or f"{self.trace_id}:{self.span_id}"

    @property
    def is_call(self) -> bool:
        return bool(self.messages and self.output)

    @property
    def ends_trace(self) -> bool:
        """Whether it is a root that has ended: its children have, too."""
        return self.part == WHOLE and self.parent_id is None and self.ended_at is not None

    @property
    def digest(self) -> str:
        """SHA-256 of the content without the source: the same span again is a duplicate, another a change."""
        return digest(self.model_dump(mode="json", exclude={"source"}))


class Complete(StrEnum):
    """Why a trace is joined."""

    ROOT_ENDED = "root_ended"
    QUIET = "quiet"
    TOO_OLD = "too_old"


@dataclass(frozen=True, slots=True)
class OpenTrace:
    """A trace with parts that are not joined yet. Times are when parts were stored, of those alone;
    `root_ended` is of all parts that are known.
    """

    first_at: float
    last_at: float
    root_ended: bool


@dataclass(frozen=True, slots=True)
class JoinRule:
    """When a trace is complete: its root has ended and nothing came for `settle_s` (parts travel on other
    partitions, and log records after their spans); nothing came for `quiet_s`, root or not; or it is open for
    `oldest_s`.
    """

    settle_s: float = 5.0
    quiet_s: float = 30.0
    oldest_s: float = 600.0

    def complete(self, trace: OpenTrace, now: float) -> Complete | None:
        """Why it is; None: more of it is waited for."""
        quiet = now - trace.last_at
        if trace.root_ended and quiet >= self.settle_s:
            return Complete.ROOT_ENDED
        if quiet >= self.quiet_s:
            return Complete.QUIET
        return Complete.TOO_OLD if now - trace.first_at >= self.oldest_s else None
