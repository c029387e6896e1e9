"""What one span says: a call of a model, something around calls, or neither."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from pydantic import ValidationError

from connectors.decoders import strict
from connectors.decoders.chat import first_problem
from connectors.decoders.otlp import genai, openinference
from connectors.decoders.otlp.content import Content
from connectors.decoders.otlp.raw import RawSpan
from connectors.decoders.otlp.usage import usage_of
from connectors.decoders.tools import definitions
from connectors.errors import DecodeError
from connectors.events import Found, Skipped, SkipReason
from policies.records import digest
from policies.spans import Span

SECOND_NS = 1_000_000_000
_LONGEST = 480
"""Characters of an id or a name that is kept as it is; a longer one is kept as its digest."""
_CALLS = frozenset({"chat", "text_completion", "generate_content", "completion", "responses", "response"})
_OF_MODELS = (
    "gen_ai.request.", "gen_ai.response.", "gen_ai.usage.", "llm.model_name", "llm.request.", "llm.response.",
    "llm.token_count.",
)  # fmt: skip
_SESSION = (
    "session.id", "langfuse.session.id", "traceloop.association.properties.session_id",
    "gen_ai.conversation.id", "traceloop.association.properties.thread_id",
)  # fmt: skip
_SUBJECT = ("user.id", "enduser.id", "langfuse.user.id", "traceloop.association.properties.user_id")
_VERSION = ("rlaifd.agent_version", "gen_ai.agent.version")
_ADAPTER = ("rlaifd.adapter",)
_BEFORE = ("previous_response_id", "previous_response.id")
"""How the attributes end that name what the provider keeps of the history: the log has only what is new."""
_KEPT = ("previous_response_id", "conversation")


class SpanKind(Enum):
    """What a span is for the joining of traces."""

    CALL = "call"
    AROUND = "around"
    OTHER = "other"


def kind_of(span: RawSpan) -> SpanKind:
    """By the convention's own word for it where there is one, else by what it has."""
    attributes = span.attributes
    kind = attributes.get(openinference.KIND)
    if isinstance(kind, str):
        return SpanKind.CALL if kind.upper() == "LLM" else _around(attributes)
    operation = attributes.get("gen_ai.operation.name")
    if isinstance(operation, str) and operation:
        return SpanKind.CALL if operation in _CALLS else _around(attributes)
    if "traceloop.span.kind" in attributes:
        return _around(attributes)
    if genai.has_content(attributes) or any(key.startswith(_OF_MODELS) for key in attributes):
        return SpanKind.CALL
    if genai.elsewhere(attributes) or any(key.startswith("llm.") for key in attributes):
        return SpanKind.CALL
    return _around(attributes)


def _around(attributes: Mapping[str, Any]) -> SpanKind:
    """Whether it says what is common to calls: those are looked for around them."""
    named = (*_SESSION, *_SUBJECT, *_VERSION, *_ADAPTER)
    return SpanKind.AROUND if any(_name(attributes, (key,)) for key in named) else SpanKind.OTHER


def around(span: RawSpan, *, source: str, timestamp: float | None) -> Span:
    """A span that is no call. Raises DecodeError."""
    return Span(**_common(span, source, timestamp))


def call(span: RawSpan, *, source: str, timestamp: float | None) -> Found:
    """A call of a model, or why it is none. Raises DecodeError naming what is wrong."""
    attributes = span.attributes
    strict.check(dict(attributes))
    if span.failed or attributes.get("error.type"):
        return Skipped(SkipReason.ERROR)
    found = content(attributes, dropped=span.dropped)
    if found.silent is not None:
        return Skipped(found.silent)
    try:
        return Span(**_common(span, source, timestamp), **said(attributes, found), called=True)
    except ValidationError as error:
        raise DecodeError(first_problem(error)) from None


def content(attributes: Mapping[str, Any], *, dropped: bool) -> Content:
    """The conversation that attributes have, in whichever convention. None of it: it may come otherwise."""
    incomplete = dropped or _has_before(attributes)
    if genai.has_content(attributes):
        return genai.content(attributes, incomplete=incomplete)
    if openinference.has_content(attributes):
        return openinference.content(attributes, incomplete=incomplete)
    place = genai.elsewhere(attributes)
    if place is not None:
        raise DecodeError(f"the content is not in the log: `{place}` names another place; log it on the span")
    return Content(incomplete=incomplete)


def said(attributes: Mapping[str, Any], found: Content) -> dict[str, Any]:
    """A span's fields of a call. The model is the one that the response names."""
    response = openinference.document(attributes, "output.value")
    own = response.get("id") if isinstance(response, Mapping) else None
    parameters = openinference.parameters(attributes)
    asked = _name(attributes, ("gen_ai.request.model", "llm.request.model_name")) or parameters.get("model")
    tags: dict[str, str] = {}
    if found.finish:
        tags["finish_reason"] = found.finish
    if isinstance(asked, str) and asked:
        tags["requested_model"] = asked[:_LONGEST]
    model = _name(attributes, ("gen_ai.response.model", "llm.response.model_name", "llm.model_name"))
    return {
        "event_id": _name(attributes, ("gen_ai.response.id",)) or _named(own),
        "messages": found.messages,
        "output": found.output,
        "choices": found.choices,
        "model": model,
        "tools": definitions(genai.definitions_of(attributes) or openinference.definitions_of(attributes)),
        "tags": tags,
        "usage": usage_of(attributes),
        "truncated": found.truncated,
        "unshown": found.unshown,
        "incomplete": found.incomplete,
    }


def common(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What a span says that may be said for others, too."""
    return {
        "session": _name(attributes, _SESSION),
        "subject": _name(attributes, _SUBJECT),
        "agent_version": _name(attributes, _VERSION),
        "adapter": _name(attributes, _ADAPTER),
    }


def seconds(at_ns: int, otherwise: float | None) -> float:
    """A time in seconds. Raises DecodeError where nobody gives one."""
    if at_ns:
        return at_ns / SECOND_NS
    if otherwise is None:
        raise DecodeError("no time, and the transport gives none")
    return otherwise


def _common(span: RawSpan, source: str, timestamp: float | None) -> dict[str, Any]:
    trace_id, span_id = span.trace_id, span.span_id
    if not trace_id or not span_id:
        # It stands alone, and nothing can belong to it: its content names it.
        trace_id, span_id = digest(dict(span.attributes)), "alone"
    return {
        "trace_id": trace_id,
        "span_id": span_id,
        "parent_id": span.parent_id or None,
        "source": source,
        "ts": seconds(span.start_ns, timestamp),
        "ended_at": span.end_ns / SECOND_NS if span.end_ns else None,
        **common(span.attributes),
    }


def _has_before(attributes: Mapping[str, Any]) -> bool:
    """Whether the provider keeps a part of the history, so that it is not in the log."""
    asked = [openinference.parameters(attributes), openinference.document(attributes, "input.value")]
    kept = [each.get(name) for each in asked if isinstance(each, Mapping) for name in _KEPT]
    named = [value for key, value in attributes.items() if key.endswith(_BEFORE)]
    return any(isinstance(each, str | Mapping) and bool(each) for each in (*kept, *named))


def _name(attributes: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((found for key in keys if (found := _named(attributes.get(key)))), None)


def _named(raw: Any) -> str | None:
    """An id or a name as text; None where there is none."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        raw = str(raw)
    if not isinstance(raw, str) or not raw.strip():
        return None
    return raw if len(raw) <= _LONGEST else digest(raw)
