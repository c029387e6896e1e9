"""Spans: the parts of a trace that come by themselves, when they are complete, and what they become.

A span of a model's call holds what a trace does; what is said once for a whole trace (its session, its
subject) often stands on another span than the call's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field

from policies.records import Frozen, Message, Trace, digest

MAX_ID = 255
"""Characters of a trace's and of a span's id: both together are an event's id."""
COMMON = ("session", "subject", "adapter")
"""What a call has from the spans around it where it does not say it itself."""


class Span(Frozen):
    """One span. `ts` is its start and `ended_at` its end, seconds since the epoch, UTC; None: it has not
    ended, or the log does not say. `parent_id` None: it is the root of its trace.

    With `messages` and `output` it is a call of a model: an answer of the agent. `event_id` is then the
    response's own id, where it has one.
    """

    trace_id: str = Field(min_length=1, max_length=MAX_ID)
    span_id: str = Field(min_length=1, max_length=MAX_ID)
    parent_id: str | None = None
    source: str
    ts: float = Field(allow_inf_nan=False)
    ended_at: float | None = Field(default=None, allow_inf_nan=False)
    event_id: str | None = Field(default=None, min_length=1, max_length=512)
    messages: tuple[Message, ...] = ()
    output: tuple[Message, ...] = ()
    model: str | None = None
    adapter: str | None = None
    session: str | None = None
    subject: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    truncated: bool = False
    unshown: bool = False

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
        return self.parent_id is None and self.ended_at is not None

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
    """When a trace is complete: its root has ended, nothing came for so long, or it is open for so long."""

    quiet_s: float = 30.0
    oldest_s: float = 600.0

    def complete(self, trace: OpenTrace, now: float) -> Complete | None:
        """Why it is; None: more of it is waited for."""
        if trace.root_ended:
            return Complete.ROOT_ENDED
        if now - trace.last_at >= self.quiet_s:
            return Complete.QUIET
        return Complete.TOO_OLD if now - trace.first_at >= self.oldest_s else None


def joined(spans: Sequence[Span]) -> list[Trace]:
    """The answers of one trace's spans, in order of time. Joining the same spans again gives the same."""
    by_id = {span.span_id: span for span in spans}
    calls = sorted((span for span in spans if span.is_call), key=lambda span: (span.ts, span.span_id))
    return [_trace(call, spans, by_id) for call in calls]


def _trace(call: Span, spans: Sequence[Span], by_id: Mapping[str, Span]) -> Trace:
    around = [*_upwards(call, by_id), *sorted(spans, key=lambda span: (span.ts, span.span_id))]
    common = {name: next(filter(None, (getattr(span, name) for span in around)), None) for name in COMMON}
    return Trace(
        id=call.id,
        source=call.source,
        ts=call.ts if call.ended_at is None else call.ended_at,
        messages=call.messages,
        output=call.output,
        model=call.model,
        tools=call.tools,
        tags=call.tags,
        truncated=call.truncated,
        unshown=call.unshown,
        **common,
    )


def _upwards(span: Span, by_id: Mapping[str, Span]) -> Iterator[Span]:
    """The span and those it is within, the nearest first. Parents that lead in a circle are met once."""
    met: set[str] = set()
    here: Span | None = span
    while here is not None and here.span_id not in met:
        yield here
        met.add(here.span_id)
        here = by_id.get(here.parent_id) if here.parent_id is not None else None
