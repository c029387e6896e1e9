"""OTLP requests as exporters write them, in JSON and in protobuf, for the tests."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from connectors.decoders.detect import Decoders
from connectors.events import Found
from policies.joining import joined
from policies.records import Trace
from policies.spans import Span

TRACE = "5b8efff798038103d269b633813fc60c"
NOW_NS = 1_750_000_000_000_000_000
CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "agent-live",
    "gen_ai.response.model": "m-1",
    "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "Where is 7?"}]}],
    "gen_ai.output.messages": [
        {"role": "assistant", "parts": [{"type": "text", "content": "In Ulm."}], "finish_reason": "stop"}
    ],
}


def value(raw: Any) -> dict[str, Any]:
    """A value as OTLP's JSON has it."""
    if isinstance(raw, bool):
        return {"boolValue": raw}
    if isinstance(raw, int):
        return {"intValue": str(raw)}
    if isinstance(raw, float):
        return {"doubleValue": raw}
    if isinstance(raw, list):
        return {"arrayValue": {"values": [value(each) for each in raw]}}
    if isinstance(raw, dict):
        return {"kvlistValue": {"values": pairs(raw)}}
    return {} if raw is None else {"stringValue": raw}


def pairs(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value(each)} for key, each in raw.items()]


def as_text(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of objects as the JSON text that spans have."""
    structured = (list, dict)
    return {
        key: json.dumps(each)
        if isinstance(each, structured) and not all(isinstance(item, str) for item in each)
        else each
        for key, each in attributes.items()
    }


def span(name: str, parent: str = "", *, attributes: Mapping[str, Any] | None = None, **more: Any) -> Any:
    """A span of one trace; its id is made of the name's first letter and digits."""
    return {
        "traceId": TRACE,
        "spanId": span_id(name),
        "parentSpanId": span_id(parent) if parent else "",
        "name": name,
        "startTimeUnixNano": str(NOW_NS),
        "endTimeUnixNano": str(NOW_NS + 1_000_000_000),
        "attributes": pairs(attributes or {}),
        **more,
    }


def span_id(name: str) -> str:
    return name.encode().hex().ljust(16, "0")[:16]


def log(name: str, of: str, *, attributes: Mapping[str, Any] | None = None, **more: Any) -> Any:
    return {
        "traceId": TRACE,
        "spanId": span_id(of) if of else "",
        "observedTimeUnixNano": str(NOW_NS),
        "eventName": name,
        "attributes": pairs(attributes or {}),
        **more,
    }


def traces(*spans: Any) -> dict[str, Any]:
    return {
        "resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "s"}, "spans": list(spans)}]}]
    }


def logs(*records: Any) -> dict[str, Any]:
    return {
        "resourceLogs": [
            {"resource": {}, "scopeLogs": [{"scope": {"name": "s"}, "logRecords": list(records)}]}
        ]
    }


def decoded(*records: Any, timestamp: float | None = 5.0) -> list[Found]:
    """Every event of the records: bytes, or what becomes JSON."""
    found: list[Found] = []
    for record in records:
        raw = record if isinstance(record, bytes) else json.dumps(record).encode()
        found.extend(Decoders().decode(raw, source="s", timestamp=timestamp))
    return found


def read(*records: Any) -> list[Trace]:
    """The traces that the spans of all records are, by their own traces."""
    by_trace: dict[str, list[Span]] = {}
    for each in decoded(*records):
        if isinstance(each, Span):
            by_trace.setdefault(each.trace_id, []).append(each)
    return [trace for spans in by_trace.values() for trace in joined(spans).traces]


def proto(request: Mapping[str, Any]) -> bytes:
    """The same request in protobuf."""
    if "resourceLogs" in request:
        asked = ExportLogsServiceRequest()
        for batch in request["resourceLogs"]:
            out = asked.resource_logs.add()
            for scope in batch["scopeLogs"]:
                records = out.scope_logs.add().log_records
                for each in scope["logRecords"]:
                    _log(records.add(), each)
        return bytes(asked.SerializeToString())
    told = ExportTraceServiceRequest()
    for batch in request["resourceSpans"]:
        into = told.resource_spans.add()
        for scope in batch["scopeSpans"]:
            spans = into.scope_spans.add().spans
            for each in scope["spans"]:
                _span(spans.add(), each)
    return bytes(told.SerializeToString())


def _span(out: Any, raw: Mapping[str, Any]) -> None:
    out.trace_id, out.span_id = bytes.fromhex(raw["traceId"]), bytes.fromhex(raw["spanId"])
    out.parent_span_id, out.name = bytes.fromhex(raw["parentSpanId"]), raw["name"]
    out.start_time_unix_nano, out.end_time_unix_nano = (
        int(raw["startTimeUnixNano"]), int(raw["endTimeUnixNano"]),
    )  # fmt: skip
    out.status.code = raw.get("status", {}).get("code", 0)
    out.dropped_attributes_count = raw.get("droppedAttributesCount", 0)
    _attributes(out, raw["attributes"])
    for each in raw.get("events", ()):
        event = out.events.add()
        event.name, event.time_unix_nano = each["name"], int(each["timeUnixNano"])
        _attributes(event, each["attributes"])
    for each in raw.get("links", ()):
        link = out.links.add()
        link.trace_id, link.span_id = bytes.fromhex(each["traceId"]), bytes.fromhex(each["spanId"])


def _log(out: Any, raw: Mapping[str, Any]) -> None:
    out.trace_id, out.span_id = bytes.fromhex(raw["traceId"]), bytes.fromhex(raw["spanId"])
    out.observed_time_unix_nano, out.event_name = int(raw["observedTimeUnixNano"]), raw["eventName"]
    _attributes(out, raw["attributes"])
    if "body" in raw:
        _value(out.body, raw["body"])


def _attributes(out: Any, pairs_of: Sequence[Mapping[str, Any]]) -> None:
    for each in pairs_of:
        pair = out.attributes.add()
        pair.key = each["key"]
        _value(pair.value, each["value"])


def _value(out: AnyValue, raw: Mapping[str, Any]) -> None:
    for kind, inner in raw.items():
        if kind == "arrayValue":
            out.array_value.SetInParent()
            for each in inner["values"]:
                _value(out.array_value.values.add(), each)
        elif kind == "kvlistValue":
            out.kvlist_value.SetInParent()
            for each in inner["values"]:
                pair = out.kvlist_value.values.add()
                pair.key = each["key"]
                _value(pair.value, each["value"])
        elif kind == "intValue":
            out.int_value = int(inner)
        else:
            setattr(out, f"{kind[:-5]}_value", inner)
