"""Spans and log records as OTLP has them, whichever way they were encoded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from connectors.errors import DecodeError
from policies.records import canonical

MOST_SPANS = 20_000
"""Spans and log records of one request."""
MAX_ID = 255
"""Characters of a trace's or a span's id. A longer one is none."""
_READ = (
    "gen_ai.", "llm.", "openinference.", "input.", "output.", "session.", "user.", "enduser.", "traceloop.",
    "langfuse.", "annotations.", "evaluations.", "trace.annotations.", "trace.evaluations.", "rlaifd.",
    "error.", "event.name", "openai.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RawEvent:
    """An event on a span. `at_ns` is in nanoseconds since the epoch, 0 where nobody says."""

    name: str
    at_ns: int
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RawSpan:
    """A span. Of its attributes only those are here that can tell of a model's call. Ids are "" where there
    are none; `linked` is the (trace, span) that it points to, where that is exactly one.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start_ns: int
    end_ns: int
    failed: bool
    attributes: Mapping[str, Any]
    events: tuple[RawEvent, ...] = ()
    linked: tuple[str, str] | None = None
    dropped: bool = False
    """The exporter left attributes or events out, because there were too many."""

    @property
    def body_alone(self) -> bytes:
        """The span as a record of its own, in JSON: what is kept of it where it cannot be read."""
        said = {"name": self.name, "parentSpanId": self.parent_id, "endTimeUnixNano": str(self.end_ns)}
        return _alone(self, said | {"startTimeUnixNano": str(self.start_ns)})


@dataclass(frozen=True, slots=True)
class RawLog:
    """A log record. Attributes are here where its name begins as a model's events do."""

    trace_id: str
    span_id: str
    name: str
    at_ns: int
    attributes: Mapping[str, Any]
    body: Any = None
    dropped: bool = False

    @property
    def body_alone(self) -> bytes:
        """The log record as a record of its own, in JSON."""
        said = {"eventName": self.name, "timeUnixNano": str(self.at_ns), "body": self.body}
        return _alone(self, said)


def _alone(raw: RawSpan | RawLog, said: Mapping[str, Any]) -> bytes:
    known = {"traceId": raw.trace_id, "spanId": raw.span_id, "attributes": dict(raw.attributes)}
    return canonical({**said, **known})


@dataclass(frozen=True, slots=True)
class Request:
    """What one record holds."""

    spans: list[RawSpan] = field(default_factory=list)
    logs: list[RawLog] = field(default_factory=list)

    @property
    def events(self) -> int:
        """How many spans and log records it holds."""
        return len(self.spans) + len(self.logs)

    def bound(self) -> None:
        """Raises DecodeError where it is too much for one record."""
        if self.events > MOST_SPANS:
            raise DecodeError(f"more than {MOST_SPANS} spans and log records in one record")


def is_read(key: str) -> bool:
    """Whether an attribute can tell of a model's call, or of what stands around one."""
    return key.startswith(_READ)


def is_event(name: str) -> bool:
    """Whether an event's name is one of those of models' calls."""
    return name.startswith("gen_ai.")
