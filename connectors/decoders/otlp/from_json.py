"""OTLP in JSON, read by hand: its ids are hexadecimal, which protobuf's own JSON takes for base64.

64-bit numbers come as text or as numbers, names in camelCase or as the schema has them. A span or a log
record may also stand alone, with its attributes as an object of plain values.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from connectors.decoders.otlp.raw import MAX_ID, RawEvent, RawLog, RawSpan, Request, is_event, is_read

_SPANS = ("resourceSpans", "resource_spans")
_LOGS = ("resourceLogs", "resource_logs")
_OF_SPANS = frozenset(
    {"traceId", "trace_id", "spanId", "span_id", "startTimeUnixNano", "start_time_unix_nano"}
)
_ALONE = ("gen_ai.", "llm.", "openinference.")
_FAILED = (2, "2", "STATUS_CODE_ERROR", "ERROR")


def is_request(payload: Any) -> bool:
    """Whether it is a traces or logs request, a span, or a log record."""
    if not isinstance(payload, Mapping):
        return False
    if isinstance(_of(payload, *_SPANS, *_LOGS), list):
        return True
    attributes = payload.get("attributes")
    if not isinstance(attributes, list | Mapping):
        return any(isinstance(key, str) and key.startswith(_ALONE) for key in payload)
    return bool(_OF_SPANS & payload.keys()) or any(key.startswith(_ALONE) for key, _ in _pairs(attributes))


def read(payload: Mapping[str, Any]) -> Request:
    """Its spans and log records. Raises DecodeError for too many."""
    found = Request()
    if _event_name(payload) and not any(name in payload for name in (*_SPANS, *_LOGS)):
        found.logs.append(_log(payload))
        return found
    for span in _within(payload, _SPANS, ("scopeSpans", "scope_spans"), "spans"):
        found.spans.append(_span(span))
        found.bound()
    for log in _within(payload, _LOGS, ("scopeLogs", "scope_logs"), "logRecords", "log_records"):
        found.logs.append(_log(log))
        found.bound()
    if not any(name in payload for name in (*_SPANS, *_LOGS)):
        found.spans.append(_span(payload))
    return found


def _within(
    payload: Mapping[str, Any], outer: tuple[str, ...], scopes: tuple[str, ...], *names: str
) -> Iterator[Any]:
    for batch in _list(payload, *outer):
        for scope in _list(batch, *scopes):
            yield from _list(scope, *names)


def _span(raw: Any) -> RawSpan:
    """A span; what is no object is one that says nothing."""
    span = raw if isinstance(raw, Mapping) else {}
    status, links = _of(span, "status"), _list(span, "links")
    return RawSpan(
        trace_id=_id(_of(span, "traceId", "trace_id")),
        span_id=_id(_of(span, "spanId", "span_id")),
        parent_id=_id(_of(span, "parentSpanId", "parent_span_id", "parentId", "parent_id")),
        name=_text(_of(span, "name")),
        start_ns=_int(_of(span, "startTimeUnixNano", "start_time_unix_nano")),
        end_ns=_int(_of(span, "endTimeUnixNano", "end_time_unix_nano")),
        failed=isinstance(status, Mapping) and status.get("code") in _FAILED,
        attributes=_attributes(span.get("attributes", span), every=False),
        events=tuple(_event(each) for each in _list(span, "events")),
        linked=_link(links[0]) if len(links) == 1 else None,
        dropped=any(
            _int(_of(span, *names)) > 0
            for names in (
                ("droppedAttributesCount", "dropped_attributes_count"),
                ("droppedEventsCount", "dropped_events_count"),
            )
        ),
    )


def _event(raw: Any) -> RawEvent:
    event = raw if isinstance(raw, Mapping) else {}
    name = _text(_of(event, "name"))
    attributes = _attributes(event.get("attributes"), every=is_event(name))
    return RawEvent(name, _int(_of(event, "timeUnixNano", "time_unix_nano")), attributes)


def _log(raw: Any) -> RawLog:
    log = raw if isinstance(raw, Mapping) else {}
    name = _event_name(log)
    at = _int(_of(log, "timeUnixNano", "time_unix_nano"))
    return RawLog(
        trace_id=_id(_of(log, "traceId", "trace_id")),
        span_id=_id(_of(log, "spanId", "span_id")),
        name=name,
        at_ns=at or _int(_of(log, "observedTimeUnixNano", "observed_time_unix_nano")),
        attributes=_attributes(log.get("attributes"), every=is_event(name)),
        body=_value(log.get("body")) if is_event(name) else None,
        dropped=_int(_of(log, "droppedAttributesCount", "dropped_attributes_count")) > 0,
    )


def _event_name(log: Mapping[str, Any]) -> str:
    """A log record's event; older ones have it among the attributes."""
    own = _of(log, "eventName", "event_name")
    if isinstance(own, str) and own:
        return own
    pairs = _pairs(log.get("attributes"))
    return next((_text(value) for key, value in pairs if key == "event.name"), "")


def _link(raw: Any) -> tuple[str, str] | None:
    link = raw if isinstance(raw, Mapping) else {}
    target = _id(_of(link, "traceId", "trace_id")), _id(_of(link, "spanId", "span_id"))
    return target if all(target) else None


def _attributes(raw: Any, *, every: bool) -> dict[str, Any]:
    return {key: value for key, value in _pairs(raw) if every or is_read(key)}


def _pairs(raw: Any) -> Iterable[tuple[str, Any]]:
    """Attributes by name, of OTLP's list or of an object of plain values."""
    if isinstance(raw, Mapping):
        return ((key, _value(value)) for key, value in raw.items())
    pairs = raw if isinstance(raw, list) else []
    return (
        (each["key"], _value(each.get("value")))
        for each in pairs
        if isinstance(each, Mapping) and isinstance(each.get("key"), str)
    )


_KINDS = ("stringValue", "intValue", "boolValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue")
_SPELLED = {f"{kind[:-5]}_value": kind for kind in _KINDS}


def _value(raw: Any) -> Any:
    """A value as itself: OTLP wraps each in an object that names its type. What is not wrapped stays."""
    if not isinstance(raw, Mapping) or len(raw) != 1:
        return raw or None if isinstance(raw, Mapping) else raw
    ((key, inner),) = raw.items()
    match _SPELLED.get(key, key):
        case "arrayValue":
            return [_value(each) for each in _list(inner, "values")]
        case "kvlistValue":
            return dict(_pairs(_list(inner, "values")))
        case "intValue":
            return _number(inner)
        case kind:
            return inner if kind in _KINDS else raw


def _number(raw: Any) -> Any:
    try:
        return int(raw)
    except (TypeError, ValueError):
        return raw


def _int(raw: Any) -> int:
    """A count or a time in nanoseconds; 0 where it is none."""
    found = _number(raw)
    return found if isinstance(found, int) and 0 <= found < 1 << 63 else 0


def _id(raw: Any) -> str:
    return raw.lower() if isinstance(raw, str) and len(raw) <= MAX_ID else ""


def _text(raw: Any) -> str:
    return raw if isinstance(raw, str) else ""


def _of(raw: Mapping[str, Any], *names: str) -> Any:
    return next((raw[name] for name in names if name in raw), None)


def _list(raw: Any, *names: str) -> list[Any]:
    found = _of(raw, *names) if isinstance(raw, Mapping) else None
    return found if isinstance(found, list) else []
