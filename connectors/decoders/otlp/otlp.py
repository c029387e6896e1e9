"""OTLP requests into events: calls of models as spans that are joined, evaluations as feedback.

Most spans of a request call no model. Such a one is kept where a call needs it: it names the session or the
user, or it stands, in the same request, between a call and the root. The others are skipped and counted.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from connectors.decoders import strict
from connectors.decoders.otlp import calls, evaluations, from_json, from_proto, logs
from connectors.decoders.otlp.raw import RawLog, RawSpan, Request
from connectors.errors import DecodeError
from connectors.events import Found, Skipped, SkipReason
from policies.joining import joined
from policies.spans import Span

NAME = "otlp"


class OtlpJson:
    """The format of traces and logs requests in JSON, and of spans and log records one by one."""

    name = NAME

    def matches(self, payload: Any) -> bool:
        """Whether it is a request, a span or a log record."""
        return from_json.is_request(payload)

    def decode(self, payload: Any, *, source: str, timestamp: float | None) -> list[Found]:
        """Every event of the request. Raises DecodeError for too many."""
        if not self.matches(payload):
            raise DecodeError("an event must be a span, or hold `resourceSpans` or `resourceLogs`")
        return events(from_json.read(payload), source=source, timestamp=timestamp)


class OtlpProto:
    """The decoder of traces and logs requests in protobuf."""

    name = NAME

    def takes(self, record: bytes, content_type: str | None) -> bool:
        """By the bytes: a content type says no more than that somebody thought so."""
        del content_type
        return from_proto.is_request(record)

    def decode(
        self, record: bytes, content_type: str | None, *, source: str, timestamp: float | None
    ) -> list[Found]:
        """Every event of the request. Raises DecodeError for bytes that are none, and for too many."""
        del content_type
        return events(from_proto.read(record), source=source, timestamp=timestamp)


def events(request: Request, *, source: str, timestamp: float | None) -> list[Found]:
    """What a request holds: one event a span or log record, but that messages of one call are one.

    What cannot be read has its own bytes, of a request that holds more than it.
    """
    found: list[Found] = []
    for span in request.spans:
        found.extend(_annotated(span, source, timestamp))
    found.extend(_of_spans(request.spans, source, timestamp))
    found.extend(_of_logs(request.logs, source, timestamp))
    if request.events == 1:
        found = [DecodeError(str(each)) if isinstance(each, DecodeError) else each for each in found]
    return [_alone(each) for each in found]


def _refused(error: DecodeError, raw: RawSpan | RawLog) -> DecodeError:
    """What is wrong, with the bytes of that alone: a request's own would be kept once for each."""
    return DecodeError(str(error), raw.body_alone)


def _of_spans(spans: Sequence[RawSpan], source: str, timestamp: float | None) -> Iterator[Found]:
    kinds = [calls.kind_of(span) for span in spans]
    needed = _needed(spans, kinds)
    for span, kind in zip(spans, kinds, strict=True):
        try:
            if kind is calls.SpanKind.CALL:
                yield calls.call(logs.with_events(span), source=source, timestamp=timestamp)
            elif span.trace_id and span.span_id and (span.trace_id, span.span_id) in needed:
                strict.check(dict(span.attributes))
                yield calls.around(span, source=source, timestamp=timestamp)
            else:
                yield Skipped(SkipReason.NO_MODEL_CALL)
        except DecodeError as error:
            yield _refused(error, span)
        told = [event for event in span.events if logs.is_message(event.name)]
        yield from _messages(logs.logged(span, told), source, timestamp) if told else ()
        for log in logs.logged(span, [each for each in span.events if each.name == logs.EVALUATION]):
            yield _evaluated(log, source, timestamp)


def _needed(spans: Sequence[RawSpan], kinds: Sequence[calls.SpanKind]) -> set[tuple[str, str]]:
    """The spans that say what is common to calls, and those that lead from what is kept to the root."""
    by_id = {(span.trace_id, span.span_id): span for span in spans}
    needed: set[tuple[str, str]] = set()
    for span, kind in zip(spans, kinds, strict=True):
        here: RawSpan | None = span if kind is not calls.SpanKind.OTHER else None
        while here is not None and (here.trace_id, here.span_id) not in needed:
            needed.add((here.trace_id, here.span_id))
            here = by_id.get((here.trace_id, here.parent_id))
    return needed


def _of_logs(records: Sequence[RawLog], source: str, timestamp: float | None) -> Iterator[Found]:
    by_span: dict[tuple[str, str], list[RawLog]] = {}
    for log in records:
        if logs.is_message(log.name):
            by_span.setdefault((log.trace_id, log.span_id), []).append(log)
        elif log.name == logs.EVALUATION:
            yield _evaluated(log, source, timestamp)
        elif log.name == logs.DETAILS:
            yield _detailed(log, source, timestamp)
        else:
            yield Skipped(SkipReason.NO_MODEL_CALL)
    for mine in by_span.values():
        yield from _messages(mine, source, timestamp)


def _messages(mine: Sequence[RawLog], source: str, timestamp: float | None) -> Iterator[Found]:
    try:
        spans, others = logs.messages(mine, source=source, timestamp=timestamp)
    except DecodeError as error:
        yield _refused(error, mine[0])
        return
    yield from spans
    yield from others


def _detailed(log: RawLog, source: str, timestamp: float | None) -> Found:
    try:
        return logs.details(log, source=source, timestamp=timestamp)
    except DecodeError as error:
        return _refused(error, log)


def _evaluated(log: RawLog, source: str, timestamp: float | None) -> Found:
    try:
        strict.check(dict(log.attributes))
        return evaluations.result(log, source=source, timestamp=timestamp)
    except DecodeError as error:
        return _refused(error, log)


def _annotated(span: RawSpan, source: str, timestamp: float | None) -> list[Found]:
    try:
        found = list(evaluations.annotations(span, source=source, timestamp=timestamp))
        for each in found:
            strict.check(each.said.model_dump())
    except DecodeError as error:
        return [_refused(error, span)]
    return list(found)


def _alone(found: Found) -> Found:
    """A call that names no trace waits for nothing: it is one by itself."""
    if not isinstance(found, Span) or found.span_id != "alone":
        return found
    traces = joined([found]).traces
    if traces:
        return traces[0].model_copy(update={"id": found.event_id or found.trace_id})
    if found.output:
        return DecodeError(
            "an answer without what the model was asked: no trace, and no `gen_ai.input.messages`"
        )
    return Skipped(SkipReason.NO_CONTENT)
