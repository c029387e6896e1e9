"""OTLP in protobuf: a traces or a logs request.

The two share their outer fields, so that each parses as the other without an error: which it is, is told by
what is in it. A span has a trace of 16 bytes in its first field; a log record has a time there.
"""

import math
from base64 import b64encode
from collections.abc import Iterable
from typing import Any

from connectors.decoders.otlp.raw import RawEvent, RawLog, RawSpan, Request, is_event, is_read
from connectors.errors import DecodeError, UnknownFormatError

_RESOURCE = 0x0A
"""The tag of the one field that both requests have: field 1, of a length."""
_INNER = frozenset({0x0A, 0x12, 0x1A})
"""Tags with which a resource's spans or logs begin: the resource, the scopes, the schema's address."""
_TRACE_ID, _SPAN_ID = 16, 8
_FAILED = 2


def begins(head: bytes) -> bool:
    """Whether bytes may be the beginning of a request: cheap, and no proof."""
    return head[:1] == bytes([_RESOURCE])


def is_request(record: bytes) -> bool:
    """Whether the bytes are nothing but fields of such a request, by their lengths. Parses nothing."""
    at, end = 0, len(record)
    while at < end:
        if record[at] != _RESOURCE:
            return False
        length, at = _varint(record, at + 1)
        if length is None or length > end - at or (length and record[at] not in _INNER):
            return False
        at += length
    return end > 0


def read(record: bytes) -> Request:
    """Its spans or its log records. Raises DecodeError for bytes that are neither, or broken."""
    traces, asked = _parsed(record)
    if traces is None and asked is None:
        raise DecodeError("broken protobuf: it is cut off, or no OTLP traces or logs request")
    batches = traces.resource_spans if traces is not None else ()
    spans = [span for batch in batches for scope in batch.scope_spans for span in scope.spans]
    if spans and all(len(each.trace_id) == _TRACE_ID and len(each.span_id) == _SPAN_ID for each in spans):
        return _checked(Request(spans=[_span(each) for each in spans]))
    batches = asked.resource_logs if asked is not None else ()
    logs = [log for batch in batches for scope in batch.scope_logs for log in scope.log_records]
    other = not logs and (spans or traces is None or asked is None)
    if other or not all(map(_is_log, logs)):
        raise UnknownFormatError("protobuf, but no OTLP request of traces or logs: a topic of metrics?")
    return _checked(Request(logs=[_log(each) for each in logs]))


def _parsed(record: bytes) -> tuple[Any, Any]:
    """The bytes as a traces request and as a logs request; None: they are none."""
    from google.protobuf.message import DecodeError as ProtobufError
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found: list[Any] = []
    for kind in (ExportTraceServiceRequest, ExportLogsServiceRequest):
        try:
            found.append(kind.FromString(record))
        except ProtobufError:
            found.append(None)
    return found[0], found[1]


def _checked(found: Request) -> Request:
    found.bound()
    return found


def _varint(record: bytes, at: int) -> tuple[int | None, int]:
    value, shift = 0, 0
    while at < len(record) and shift < 64:
        byte = record[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    return None, at


def _is_log(log: Any) -> bool:
    sized = len(log.trace_id) in (0, _TRACE_ID) and len(log.span_id) in (0, _SPAN_ID)
    return sized and bool(log.time_unix_nano or log.observed_time_unix_nano)


def _span(span: Any) -> RawSpan:
    links = span.links
    return RawSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        failed=span.status.code == _FAILED,
        attributes=_attributes(span.attributes, every=False),
        events=tuple(_event(each) for each in span.events),
        linked=(links[0].trace_id.hex(), links[0].span_id.hex()) if len(links) == 1 else None,
        dropped=bool(span.dropped_attributes_count or span.dropped_events_count),
    )


def _event(event: Any) -> RawEvent:
    attributes = _attributes(event.attributes, every=is_event(event.name))
    return RawEvent(event.name, event.time_unix_nano, attributes)


def _log(log: Any) -> RawLog:
    name = log.event_name
    if not name:
        name = next((each.value.string_value for each in log.attributes if each.key == "event.name"), "")
    return RawLog(
        trace_id=log.trace_id.hex(),
        span_id=log.span_id.hex(),
        name=name,
        at_ns=log.time_unix_nano or log.observed_time_unix_nano,
        attributes=_attributes(log.attributes, every=is_event(name)),
        body=_value(log.body) if is_event(name) else None,
        dropped=log.dropped_attributes_count > 0,
    )


def _attributes(pairs: Iterable[Any], *, every: bool) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in pairs if every or is_read(each.key)}


def _value(raw: Any) -> Any:
    """A value as itself. A number that JSON does not have is text."""
    kind = raw.WhichOneof("value")
    if kind is None:
        return None
    value = getattr(raw, kind)
    if kind == "array_value":
        return [_value(each) for each in value.values]
    if kind == "kvlist_value":
        return {each.key: _value(each.value) for each in value.values}
    if kind == "bytes_value":
        return b64encode(value).decode()
    if kind == "double_value" and not math.isfinite(value):
        return str(value)
    return value
