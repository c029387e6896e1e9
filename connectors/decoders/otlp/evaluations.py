"""What somebody said of an answer: GenAI's event of an evaluation, and OpenInference's annotations.

Both are feedback: the conventions have no other word for what users say. What a model or a program said is
named so (`llm:NAME`), so that it never is taken for a user's thumb of the same name.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from connectors.decoders.chat import first_problem
from connectors.decoders.otlp.calls import seconds
from connectors.decoders.otlp.content import nested
from connectors.decoders.otlp.raw import RawLog, RawSpan
from connectors.errors import DecodeError
from policies.feedback import About, FeedbackEvent
from policies.records import Feedback, digest

_NAME, _SCORE = "gen_ai.evaluation.name", "gen_ai.evaluation.score.value"
_LABEL, _WHY = "gen_ai.evaluation.score.label", "gen_ai.evaluation.explanation"
_SCOPES = {"": About.SPAN, "trace.": About.TRACE, "session.": About.SESSION}
_KINDS = {"annotations": "annotation", "evaluations": "evaluation"}
_PREFIXES = tuple(f"{scope}{group}." for scope in _SCOPES for group in _KINDS)
_LONGEST = 500
_MADE = frozenset({"llm", "code"})


def result(log: RawLog, *, source: str, timestamp: float | None) -> FeedbackEvent:
    """The feedback that an evaluation is. It is about the response that it names, else about its span.

    Raises DecodeError where it names nothing, or failed.
    """
    said = log.attributes
    name, response = said.get(_NAME), said.get("gen_ai.response.id")
    if not isinstance(name, str) or not name:
        raise DecodeError(f"an evaluation without `{_NAME}`")
    if said.get("error.type"):
        raise DecodeError("an evaluation that failed: nothing was said")
    if isinstance(response, str) and response:
        about, target = About.EVENT, response
    elif log.trace_id and log.span_id:
        about, target = About.SPAN, f"{log.trace_id}:{log.span_id}"
    else:
        raise DecodeError("an evaluation of nothing: neither a span nor `gen_ai.response.id`")
    told = Feedback(
        name=name,
        score=_score(said.get(_SCORE)),
        label=_text(said.get(_LABEL)),
        comment=_text(said.get(_WHY)),
    )
    return _event(about, target, told, by="", source=source, at=seconds(log.at_ns, timestamp))


def annotations(span: RawSpan, *, source: str, timestamp: float | None) -> Iterator[FeedbackEvent]:
    """The annotations on a span: about the span that it points to, where it points to one, else about it."""
    if not any(key.startswith(_PREFIXES) for key in span.attributes):
        return
    target = span.linked or (span.trace_id, span.span_id)
    at = seconds(span.end_ns or span.start_ns, timestamp)
    for scope, about in _SCOPES.items():
        for group, inner in _KINDS.items():
            for each in nested(span.attributes, f"{scope}{group}."):
                said = each.get(inner) if isinstance(each, Mapping) else None
                if isinstance(said, Mapping) and isinstance(said.get("name"), str) and said["name"]:
                    yield _annotation(said, about, _target(about, target, span), source, at)


def _target(about: About, target: tuple[str, str], span: RawSpan) -> str:
    if about is About.SESSION:
        session = span.attributes.get("session.id")
        return session if isinstance(session, str) and session else target[0]
    return target[0] if about is About.TRACE else ":".join(target)


def _annotation(said: Mapping[str, Any], about: About, target: str, source: str, at: float) -> FeedbackEvent:
    kind = (_text(said.get("annotator_kind")) or "").lower()
    name = f"{kind}:{said['name']}" if kind in _MADE else said["name"]
    told = Feedback(
        name=name,
        score=_score(said.get("score")),
        label=_text(said.get("label")),
        comment=_text(said.get("explanation")),
    )
    by = _text(said.get("identifier")) or ""
    return _event(about, target, told, by=by, source=source, at=at)


def _event(about: About, target: str, said: Feedback, *, by: str, source: str, at: float) -> FeedbackEvent:
    """Its id is whose word it is about what: the last one stands."""
    try:
        return FeedbackEvent(
            id=f"said-{digest([about, target, said.name, by])[:32]}",
            source=source,
            ts=at,
            about=about,
            target=target,
            said=said,
            by=by[:_LONGEST],
        )
    except ValidationError as error:
        raise DecodeError(first_problem(error)) from None


def _score(raw: Any) -> float | None:
    number = isinstance(raw, int | float) and not isinstance(raw, bool)
    return float(raw) if number and math.isfinite(raw) else None


def _text(raw: Any) -> str | None:
    return raw if isinstance(raw, str) and raw else None
