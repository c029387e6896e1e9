"""Models' events, as log records or on spans: a call's whole content, one message of it, or an evaluation."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from connectors.decoders import strict
from connectors.decoders.chat import cut_off, first_problem, hides, message_of, silence
from connectors.decoders.otlp import calls
from connectors.decoders.otlp.content import shortened
from connectors.decoders.otlp.raw import RawEvent, RawLog, RawSpan
from connectors.errors import DecodeError
from connectors.events import Found, Skipped, SkipReason
from policies.records import digest
from policies.spans import Piece, Span

DETAILS = "gen_ai.client.inference.operation.details"
EVALUATION = "gen_ai.evaluation.result"
CHOICE = "gen_ai.choice"
_ROLES = {
    "gen_ai.system.message": "system", "gen_ai.user.message": "user", "gen_ai.tool.message": "tool",
    "gen_ai.assistant.message": "assistant", CHOICE: "assistant",
}  # fmt: skip
_WHOLE = frozenset({"gen_ai.content.prompt", "gen_ai.content.completion", DETAILS})
"""Events on a span whose attributes are as good as its own."""
_CONTENT = "gen_ai.event.content"


def is_message(name: str) -> bool:
    """Whether an event is one message of a call."""
    return name in _ROLES


def details(log: RawLog, *, source: str, timestamp: float | None) -> Found:
    """A call's content that came without its span. Raises DecodeError naming what is wrong."""
    attributes = log.attributes
    strict.check(dict(attributes))
    if attributes.get("error.type"):
        return Skipped(SkipReason.ERROR)
    found = calls.content(attributes, dropped=log.dropped)
    if found.silent is not None or not (found.messages or found.output):
        return Skipped(found.silent or SkipReason.NO_CONTENT)
    fields = {**calls.common(attributes), **calls.said(attributes, found)}
    return _part(log, "details", fields, source=source, timestamp=timestamp)


def messages(
    logs: Sequence[RawLog], *, source: str, timestamp: float | None
) -> tuple[list[Span], list[Found]]:
    """The messages of one span's call that stand in one record, as one part of it; and those that are none.

    A message that comes again, in another batch of records, is known by its time and its words.
    """
    pieces: list[Piece] = []
    others: list[Found] = []
    flags = {"truncated": False, "unshown": False, "incomplete": False}
    tags: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for number, log in enumerate(logs):
        try:
            found = _piece(log, number, seen, flags, tags)
        except DecodeError as error:
            others.append(DecodeError(str(error), log.body_alone))
            continue
        (pieces if isinstance(found, Piece) else others).append(found)  # type: ignore[arg-type]
    if not pieces:
        return [], others
    part = f"pieces:{digest([piece.key for piece in pieces])[:32]}"
    fields = {"pieces": tuple(pieces), "tags": tags, **flags}
    return [_part(logs[0], part, fields, source=source, timestamp=timestamp)], others


def with_events(span: RawSpan) -> RawSpan:
    """A span whose events hold its content, as one that has it itself."""
    added: dict[str, Any] = {}
    for event in span.events:
        if event.name in _WHOLE:
            added |= event.attributes
    return replace(span, attributes={**added, **span.attributes}) if added else span


def logged(span: RawSpan, events: Iterable[RawEvent]) -> list[RawLog]:
    """A span's events as the log records that they would be."""
    return [
        RawLog(span.trace_id, span.span_id, event.name, event.at_ns, event.attributes, dropped=span.dropped)
        for event in events
    ]


def _piece(
    log: RawLog, number: int, seen: Counter[str], flags: dict[str, bool], tags: dict[str, str]
) -> Piece | Skipped:
    body = _body(log)
    strict.check(body)
    choice, finish = None, None
    raw: Any = body
    if log.name == CHOICE:
        index, finish = body.get("index"), body.get("finish_reason")
        choice = index if isinstance(index, int) and not isinstance(index, bool) else 0
        inner = body.get("message")
        raw = inner if isinstance(inner, Mapping) else body
    raw = {**raw, "role": raw.get("role") or _ROLES[log.name]}
    if raw["role"] == "tool":
        raw.setdefault("tool_call_id", raw.get("id"))
    message = message_of(raw, log.name)
    if choice is not None:
        silent = silence((message,), finish)
        if silent is not None:
            return Skipped(silent)
        flags["truncated"] |= cut_off((message,), finish)
        flags["unshown"] |= hides(raw)
        if isinstance(finish, str):
            tags["finish_reason"] = finish
    flags["incomplete"] |= log.dropped or shortened((message,))
    words = digest([log.name, choice, message.model_dump(mode="json")])
    place = f"{log.at_ns}:{words}"
    seen[place] += 1
    key = digest([place, seen[place]])[:32]
    return Piece(at_ns=log.at_ns, number=number, key=key, message=message, choice=choice)


def _body(log: RawLog) -> Mapping[str, Any]:
    """What an event says: its body, or what stands for it among its attributes."""
    body = log.body if log.body is not None else log.attributes.get(_CONTENT)
    if isinstance(body, str) and body.lstrip().startswith("{"):
        body = strict.parse(body)
    if isinstance(body, str):
        return {"content": body}
    return body if isinstance(body, Mapping) else log.attributes


def _part(log: RawLog, part: str, fields: Mapping[str, Any], *, source: str, timestamp: float | None) -> Span:
    if not log.trace_id or not log.span_id:
        if part != "details":
            raise DecodeError(f"`{log.name}` without a trace and a span: nothing says whose message it is")
        log = replace(log, trace_id=digest(dict(log.attributes)), span_id="alone")
    try:
        return Span(
            trace_id=log.trace_id,
            span_id=log.span_id,
            part=part,
            source=source,
            ts=calls.seconds(log.at_ns, timestamp),
            **fields,
        )
    except ValidationError as error:
        raise DecodeError(first_problem(error)) from None
