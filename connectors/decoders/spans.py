"""Spans of OpenTelemetry, as OTLP's JSON or one by one: told apart from what they are mixed with.

A trace of an agent is mostly spans that call no model: those are skipped. What a model was asked and what it
answered is not read from spans: such a one is refused, with what to log instead.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from connectors.errors import DecodeError
from connectors.events import Found, Skipped, SkipReason

MOST_SPANS = 20_000
"""Spans of one record."""

_OF_SPANS = frozenset(
    {"traceId", "trace_id", "spanId", "span_id", "startTimeUnixNano", "start_time_unix_nano"}
)
_OF_CALLS = ("gen_ai.", "llm.")
_KIND = "openinference.span.kind"
"""OpenInference's own word for what a span is: a chain and an agent repeat what the model's span says."""


class Spans:
    """Skips spans without a call of a model, and refuses those with one."""

    name = "spans"

    def matches(self, payload: Any) -> bool:
        """Whether it is a batch of spans, or one with its attributes."""
        if not isinstance(payload, dict):
            return False
        if isinstance(payload.get("resourceSpans", payload.get("resource_spans")), list):
            return True
        return isinstance(payload.get("attributes"), list | Mapping) and bool(_OF_SPANS & payload.keys())

    def decode(self, payload: Any, *, source: str, timestamp: float | None) -> list[Found]:
        """One event a span. Raises DecodeError for too many."""
        del source, timestamp
        if not self.matches(payload):
            raise DecodeError("an event must be a span, or hold `resourceSpans`")
        found: list[Found] = []
        for span in _spans(payload):
            found.append(_event(span))
            if len(found) > MOST_SPANS:
                raise DecodeError(f"more than {MOST_SPANS} spans in one record")
        return found


def _spans(payload: Mapping[str, Any]) -> Iterator[Any]:
    batches = payload.get("resourceSpans", payload.get("resource_spans"))
    if not isinstance(batches, list):
        yield payload
        return
    for batch in batches:
        for scope in _list(batch, "scopeSpans", "scope_spans"):
            yield from _list(scope, "spans", "spans")


def _list(raw: Any, *names: str) -> list[Any]:
    found = next((raw[name] for name in names if name in raw), None) if isinstance(raw, Mapping) else None
    return found if isinstance(found, list) else []


def _event(span: Any) -> Found:
    attributes = _attributes(span)
    kind = attributes.get(_KIND)
    called = kind == "LLM" if isinstance(kind, str) else any(key.startswith(_OF_CALLS) for key in attributes)
    if not called:
        return Skipped(SkipReason.NO_MODEL_CALL)
    return DecodeError("a span of a model's call: its content is not read; log requests with their responses")


def _attributes(span: Any) -> dict[str, Any]:
    """By their names; a value that is text stands for itself."""
    raw = span.get("attributes") if isinstance(span, Mapping) else None
    if isinstance(raw, Mapping):
        return dict(raw)
    pairs = [each for each in raw if isinstance(each, Mapping)] if isinstance(raw, list) else []
    return {str(each.get("key")): _value(each.get("value")) for each in pairs}


def _value(raw: Any) -> Any:
    return raw.get("stringValue", raw.get("string_value")) if isinstance(raw, Mapping) else raw
