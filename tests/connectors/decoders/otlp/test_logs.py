"""Log records and events on spans: messages one by one, and what was said of an answer."""

from typing import Any

import pytest

from connectors.errors import DecodeError
from connectors.events import Skipped, SkipReason
from policies.feedback import About, FeedbackEvent
from policies.spans import Span
from tests.connectors.decoders.otlp.requests import (
    CHAT,
    NOW_NS,
    TRACE,
    decoded,
    log,
    logs,
    proto,
    read,
    span,
    span_id,
    traces,
    value,
)  # fmt: skip

BARE = {"gen_ai.operation.name": "chat", "gen_ai.response.id": "r-1", "gen_ai.response.model": "m-1"}
SPANS = traces(span("agent", attributes={"session.id": "s-1"}), span("call", "agent", attributes=BARE))


def message(name: str, body: Any, at: int = 0, of: str = "call") -> Any:
    return log(f"gen_ai.{name}", of, body=value(body), timeUnixNano=str(NOW_NS + at))


ASKED = message("user.message", {"content": "Where is 7?"}, 1)
SAID = message(
    "choice", {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "In Ulm."}}, 2
)


def test_messages_are_joined_over_records_whatever_their_order() -> None:
    """By their times; a batch that comes again, in another cut, adds none."""
    parts = (SPANS, logs(SAID), logs(ASKED), logs(ASKED, SAID))
    (found,) = read(*parts)
    assert [each.content for each in (*found.messages, *found.output)] == ["Where is 7?", "In Ulm."]
    assert (found.id, found.model, found.session, found.tags) == (
        "r-1",
        "m-1",
        "s-1",
        {"finish_reason": "stop"},
    )
    assert read(*parts[::-1]) == [found]


def test_a_message_said_twice_is_two() -> None:
    """Where its time, or its place beside the other, says that it is another."""
    again = message("user.message", {"content": "Where is 7?"}, 1)
    (found,) = read(SPANS, logs(ASKED, again, SAID))
    assert len(found.messages) == 2


def test_a_request_without_an_answer_is_none() -> None:
    """The model's silence is told."""
    silent = message("choice", {"index": 0, "message": {"role": "assistant", "content": ""}}, 2)
    assert read(SPANS, logs(ASKED, silent)) == []
    assert Skipped(SkipReason.EMPTY) in decoded(logs(ASKED, silent))


def test_an_answer_cut_off_and_choices_beside_it() -> None:
    """As their events say."""
    first = {"index": 0, "finish_reason": "length", "message": {"content": "In U"}}
    second = {"index": 1, "finish_reason": "length", "message": {"content": "Ul"}}
    found = read(SPANS, logs(ASKED, message("choice", first, 2), message("choice", second, 3)))
    assert [(each.id, each.output[0].content, each.truncated) for each in found] == [
        ("r-1", "In U", True), ("r-1#1", "Ul", True),
    ]  # fmt: skip


def test_messages_as_events_on_their_span() -> None:
    """With the body among the attributes, as JSON text or field by field."""
    content = '{"content": "Where is 7?"}'
    events = [
        {"name": name, "timeUnixNano": str(at), "attributes": [
            {"key": key, "value": {"stringValue": text}} for key, text in attributes.items()]}
        for at, (name, attributes) in enumerate((
            ("gen_ai.user.message", {"gen_ai.event.content": content}),
            ("gen_ai.choice", {"content": "In Ulm.", "finish_reason": "stop"}),
        ), start=1)
    ]  # fmt: skip
    (found,) = read(traces(span("call", attributes=BARE, events=events)))
    assert [each.content for each in (*found.messages, *found.output)] == ["Where is 7?", "In Ulm."]


def test_a_message_of_no_span_is_told() -> None:
    """Nobody can say whose it is."""
    (found,) = decoded(logs(message("user.message", {"content": "7?"}, of="")))
    assert isinstance(found, DecodeError)
    assert "without a trace and a span" in str(found)


def test_other_log_records_are_skipped() -> None:
    """An agent logs more than its model's calls."""
    assert decoded(logs(log("", "call", body={"stringValue": "started"}), log("exception", "call"))) == [
        Skipped(SkipReason.NO_MODEL_CALL)
    ] * 2  # fmt: skip


EVALUATED = {
    "gen_ai.evaluation.name": "Relevance",
    "gen_ai.evaluation.score.value": 0.5,
    "gen_ai.evaluation.score.label": "so-so",
    "gen_ai.evaluation.explanation": "half",
}


@pytest.mark.parametrize("on", ["log", "span"])
def test_an_evaluation_is_feedback(on: str) -> None:
    """About the response it names, else about its span; the same once more has the same id."""
    name = "gen_ai.evaluation.result"
    attributes = EVALUATED | ({"gen_ai.response.id": "r-1"} if on == "log" else {})
    record = log(name, "call", attributes=attributes)
    event = {"name": name, "timeUnixNano": str(NOW_NS), "attributes": record["attributes"]}
    request = logs(record) if on == "log" else traces(span("call", attributes=BARE, events=[event]))
    found = [each for each in decoded(request, proto(request)) if isinstance(each, FeedbackEvent)]
    first, again = found
    assert first == again
    right = (About.EVENT, "r-1") if on == "log" else (About.SPAN, f"{TRACE}:{span_id('call')}")
    assert (first.about, first.target) == right
    assert (first.said.name, first.said.score, first.said.label, first.said.comment) == (
        "Relevance", 0.5, "so-so", "half",
    )  # fmt: skip
    assert first.ts == NOW_NS / 1e9


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"gen_ai.evaluation.name": ""}, "an evaluation without `gen_ai.evaluation.name`"),
        ({"error.type": "timeout"}, "an evaluation that failed"),
    ],
)
def test_an_evaluation_that_says_nothing_is_told(attributes: dict[str, Any], words: str) -> None:
    (found,) = decoded(logs(log("gen_ai.evaluation.result", "call", attributes=EVALUATED | attributes)))
    assert isinstance(found, DecodeError)
    assert words in str(found)
    (nothing,) = decoded(logs({**log("gen_ai.evaluation.result", "", attributes=EVALUATED)}))
    assert "an evaluation of nothing" in str(nothing)


def test_annotations_are_feedback() -> None:
    """Of a span itself, or of the one that a later span points to. What a program said is named so."""
    own = {
        "annotations.0.annotation.name": "thumb",
        "annotations.0.annotation.score": 1,
        "annotations.0.annotation.annotator_kind": "HUMAN",
        "annotations.0.annotation.identifier": "ada",
        "evaluations.0.evaluation.name": "thumb",
        "evaluations.0.evaluation.label": "up",
        "evaluations.0.evaluation.annotator_kind": "LLM",
        "trace.annotations.0.annotation.name": "solved",
        "trace.annotations.0.annotation.score": 0.0,
    }
    link = {"traceId": TRACE, "spanId": span_id("call")}
    carrier = traces({**span("later", attributes=own, links=[link]), "traceId": "ab" * 16})
    found = [each for each in decoded(carrier) if isinstance(each, FeedbackEvent)]
    assert [(each.about, each.target, each.said.name, each.by) for each in found] == [
        (About.SPAN, f"{TRACE}:{span_id('call')}", "thumb", "ada"),
        (About.SPAN, f"{TRACE}:{span_id('call')}", "llm:thumb", ""),
        (About.TRACE, TRACE, "solved", ""),
    ]
    itself = decoded(traces(span("call", attributes=CHAT | own)))
    targets = {each.target for each in itself if isinstance(each, FeedbackEvent)}
    assert targets == {f"{TRACE}:{span_id('call')}", TRACE}
    assert sum(isinstance(each, Span) for each in itself) == 1
