"""OTLP requests: what each of their spans is, and what is told of one that cannot be read."""

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from connectors.decoders.detect import Decoders
from connectors.decoders.otlp.raw import MOST_SPANS
from connectors.errors import DecodeError, UnknownFormatError
from connectors.events import Skipped, SkipReason
from policies.records import TokenUsage, Trace
from policies.spans import Span
from tests.connectors.decoders.otlp.requests import (
    CHAT,
    NOW_NS,
    TRACE,
    as_text,
    decoded,
    log,
    logs,
    proto,
    read,
    span,
    span_id,
    traces,
)  # fmt: skip

DETAILS = "gen_ai.client.inference.operation.details"


def kinds(*records: Any) -> list[str]:
    """What each event is: a span with its name's hex undone, or why it is none."""
    return [
        bytes.fromhex(each.span_id).rstrip(b"0\0").decode() if isinstance(each, Span) else
        each.reason if isinstance(each, Skipped) else type(each).__name__
        for each in decoded(*records)
    ]  # fmt: skip


def only(*records: Any) -> Trace:
    (found,) = read(*records)
    return found


def refusal(record: Any) -> str:
    (found,) = decoded(record)
    assert isinstance(found, DecodeError)
    assert not isinstance(found, UnknownFormatError)
    return str(found)


def test_most_spans_call_no_model() -> None:
    """They are skipped, but for those that name a session, or lead from a call to the root."""
    http, tool = {"http.route": "/"}, {"gen_ai.operation.name": "execute_tool"}
    chain = {"openinference.span.kind": "CHAIN", "input.value": "7?", "output.value": "In Ulm."}
    agent = {"gen_ai.operation.name": "invoke_agent", "session.id": "s-1"}
    request = traces(
        span("web", attributes=http),
        span("agent", "web", attributes=agent),
        span("chain", "agent", attributes=chain),
        span("call", "chain", attributes=as_text(CHAT)),
        span("tool", "agent", attributes=tool),
        span("db", "tool", attributes=http),
        span("vec", "agent", attributes={"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "e"}),
    )
    no_call = SkipReason.NO_MODEL_CALL
    right = ["web", "agent", "chain", "call", no_call, no_call, no_call]
    assert kinds(request) == kinds(proto(request)) == right
    assert kinds(traces(span("web", attributes=http), span("chain", attributes=chain))) == [no_call] * 2
    assert only(request).session == "s-1"


def test_both_encodings_say_the_same() -> None:
    """Of spans with values of every kind, events and links, and of log records with bodies."""
    attributes = log("x", "a", attributes=CHAT)["attributes"]
    event = {"name": DETAILS, "timeUnixNano": str(NOW_NS), "attributes": attributes}
    link = {"traceId": TRACE, "spanId": span_id("b")}
    request = traces(
        span("a", attributes=as_text(CHAT) | {"gen_ai.usage.input_tokens": 5, "llm.x": [True, 1.5, {}]}),
        span("b", "a", attributes={"gen_ai.request.model": "m"}, events=[event], droppedAttributesCount=1),
        span("c", "a", attributes={"annotations.0.annotation.name": "thumb"}, links=[link]),
    )
    told = logs(
        log(DETAILS, "a", attributes=CHAT), log("gen_ai.user.message", "a", body={"stringValue": "7?"})
    )
    for each in (request, told):
        assert decoded(proto(each)) == decoded(each)
    assert len(decoded(request)) == 4


@pytest.mark.parametrize("form", ["text", "value"])
def test_content_as_text_and_as_a_value(form: str) -> None:
    """Both are the same trace."""
    found = only(traces(span("call", attributes=as_text(CHAT) if form == "text" else CHAT)))
    assert (found.messages[0].content, found.output[0].content) == ("Where is 7?", "In Ulm.")
    assert (found.model, found.tags["requested_model"]) == ("m-1", "agent-live")
    assert found.id == f"{TRACE}:{span_id('call')}"
    assert found.ts == NOW_NS / 1e9 + 1


def test_parts_of_every_kind() -> None:
    """Thoughts go their own way, results are messages of their own, and what is no text leaves its name."""
    parts: list[Any] = [
        {"type": "reasoning", "content": "Seven."},
        {"type": "text", "content": "Look:"},
        {"type": "blob", "content": "aGVsbG8=", "mime_type": "image/png"},
        {"type": "tool_call", "id": "c2", "name": "map", "arguments": {"place": "Ulm"}},
    ]
    asked: list[Any] = [
        {"role": "user", "parts": [{"type": "text", "content": "Where is 7?"}], "name": None},
        {"role": "assistant", "parts": [
            {"type": "tool_call", "id": "c1", "name": "find", "arguments": {"n": 7}},
        ]},
        {"role": "user", "parts": [
            {"type": "tool_call_response", "id": "c1", "result": {"place": "Ulm"}},
            {"type": "text", "content": "Go on."},
        ]},
    ]  # fmt: skip
    more = {
        "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
        "gen_ai.input.messages": asked,
        "gen_ai.output.messages": [{"role": "assistant", "parts": parts, "finish_reason": "tool_call"}],
        "gen_ai.tool.definitions": [{"type": "function", "name": "map", "parameters": {"type": "object"}}],
    }
    found = only(traces(span("call", attributes=as_text(CHAT | more))))
    assert [(each.role, each.content) for each in found.messages] == [
        ("system", "Be brief."), ("user", "Where is 7?"), ("assistant", ""), ("tool", '{"place":"Ulm"}'),
        ("user", "Go on."),
    ]  # fmt: skip
    assert (found.messages[3].tool_call_id, found.messages[3].name) == ("c1", "find")
    (said,) = found.output
    assert (said.reasoning, said.content, said.tool_calls[0].arguments) == (
        "Seven.", "Look:\n[blob]", {"place": "Ulm"},
    )  # fmt: skip
    assert (found.unshown, found.tags["finish_reason"]) == (True, "tool_calls")
    assert found.tools[0]["function"]["name"] == "map"


def test_the_older_keys() -> None:
    """A key for each field, by the numbers' order; content and calls as OpenLLMetry wrote them."""
    attributes = {
        "llm.request.type": "chat",
        "gen_ai.prompt.0.role": "system",
        "gen_ai.prompt.0.content": "Be brief.",
        "gen_ai.prompt.10.role": "user",
        "gen_ai.prompt.10.content": "and 8?",
        "gen_ai.prompt.2.role": "user",
        "gen_ai.prompt.2.content": '[{"type": "text", "text": "Where is 7?"}]',
        "gen_ai.prompt.3.role": "assistant",
        "gen_ai.prompt.3.tool_calls.0.id": "c1",
        "gen_ai.prompt.3.tool_calls.0.name": "find",
        "gen_ai.prompt.3.tool_calls.0.arguments": '{"n": 7}',
        "gen_ai.prompt.4.role": "tool",
        "gen_ai.prompt.4.content": "Ulm",
        "gen_ai.prompt.4.tool_call_id": "c1",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": "In Ulm.",
        "gen_ai.completion.0.finish_reason": "length",
        "gen_ai.usage.prompt_tokens": 12,
        "gen_ai.usage.completion_tokens": 3,
        "llm.request.functions.0.name": "find",
        "llm.request.functions.0.parameters": '{"type": "object"}',
    }
    found = only(traces(span("call", attributes=attributes)))
    assert [each.content for each in found.messages] == ["Be brief.", "Where is 7?", "", "Ulm", "and 8?"]
    assert found.messages[2].tool_calls[0].arguments == {"n": 7}
    assert (found.output[0].content, found.truncated) == ("In Ulm.", True)
    assert (found.tags, found.usage) == (
        {"finish_reason": "length"},
        TokenUsage(input_tokens=12, output_tokens=3),
    )
    assert found.tools[0]["function"]["name"] == "find"
    events = [
        {"name": f"gen_ai.content.{name}", "timeUnixNano": "1", "attributes": [
            {"key": f"gen_ai.{name}", "value": {"stringValue": text}}]}
        for name, text in (("prompt", "7?"), ("completion", '[{"role": "assistant", "content": "In Ulm."}]'))
    ]  # fmt: skip
    oldest = only(traces(span("call", attributes={"gen_ai.request.model": "m"}, events=events)))
    assert (oldest.messages[0].content, oldest.output[0].content) == ("7?", "In Ulm.")


def test_answers_beside_each_other() -> None:
    """Each of them is a trace; messages that are pieces of one answer are not."""
    said = [
        {"role": "assistant", "parts": [{"type": "text", "content": text}]} for text in ("In Ulm.", "Ulm!")
    ]
    several = CHAT | {"gen_ai.output.messages": said, "gen_ai.request.choice.count": 2}
    found = read(traces(span("call", attributes=several)))
    assert [(each.id[-2:], each.output[0].content) for each in found] == [
        (f"{span_id('call')[-2:]}", "In Ulm."), ("#1", "Ulm!"),
    ]  # fmt: skip
    calls: list[Any] = [
        {"role": "assistant", "parts": [{"type": "tool_call", "id": name, "name": "find", "arguments": {}}]}
        for name in ("a", "b")
    ]
    together = only(traces(span("call", attributes=CHAT | {"gen_ai.output.messages": calls})))
    assert [[call.id for call in each.tool_calls] for each in together.output] == [["a", "b"]]


OPENINFERENCE: dict[str, Any] = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "m-1",
    "llm.invocation_parameters": '{"model": "agent-live"}',
    "llm.input_messages.0.message.role": "user",
    "llm.input_messages.0.message.content": "Where is 7?",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "In Ulm.",
}


def openinference(**more: Any) -> Any:
    kept = {key: each for key, each in (OPENINFERENCE | more).items() if each is not None}
    return traces(span("call", attributes=kept))


def test_openinference_in_its_shapes() -> None:
    """A whole message under its number, text only among the contents, and plain prompts."""
    dumped = openinference(**{
        "llm.output_messages.0.message.role": None, "llm.output_messages.0.message.content": None,
        "llm.output_messages.0": '{"role": "assistant", "content": "In Ulm."}',
    })  # fmt: skip
    parts = openinference(**{
        "llm.output_messages.0.message.content": None,
        "llm.output_messages.0.message.contents.1.message_content.type": "text",
        "llm.output_messages.0.message.contents.1.message_content.text": "In Ulm.",
        "llm.output_messages.0.message.contents.0.message_content.type": "reasoning",
        "llm.output_messages.0.message.contents.0.message_content.text": "Seven.",
    })  # fmt: skip
    plain = traces(span("call", attributes={
        "openinference.span.kind": "LLM", "input.value": "Where is 7?", "output.value": "In Ulm.",
    }))  # fmt: skip
    for request in (openinference(), dumped, parts, plain):
        found = only(request)
        assert (found.messages[0].content, found.output[0].content) == ("Where is 7?", "In Ulm.")
    assert only(parts).output[0].reasoning == "Seven."


@pytest.mark.parametrize(
    "more",
    [
        {"gen_ai.request.previous_response_id": "resp_1"},
        {"gen_ai.openai.request.previous_response_id": "resp_1"},
        {"gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "7?"}]}, {"ro'},
        {"gen_ai.input.messages": [{"role": "user", "content": "<truncated due to size exceeding limit>"}]},
        {"gen_ai.input.messages": [{"role": "user", "content": "My order, that... [truncated 512 chars]"}]},
        {"gen_ai.input.messages": [{"role": "user", "content": "__REDACTED__"}]},
    ],
)
def test_a_history_that_is_not_all_there(more: dict[str, Any]) -> None:
    """The provider kept it, a limit cut it, or a logger left a sign in its place: nothing learns from it."""
    assert not only(traces(span("call", attributes=as_text(CHAT)))).incomplete
    assert only(traces(span("call", attributes=as_text(CHAT | more)))).incomplete


def test_a_history_that_openinference_has_not_all_of() -> None:
    """Too many attributes, texts that break off, and responses that go on from another one."""
    assert not only(openinference()).incomplete
    cut = {"input.value": '{"messages": [{"role": "us', "input.mime_type": "application/json"}
    kept = {"llm.invocation_parameters": '{"previous_response_id": "resp_1"}'}
    assert only(openinference(**cut)).incomplete
    assert only(openinference(**kept)).incomplete
    dropped = span("call", attributes=OPENINFERENCE, droppedAttributesCount=3)
    assert only(traces(dropped)).incomplete


def test_what_a_tool_calls_truncated_is_what_the_model_saw() -> None:
    """It is no sign of the logger's."""
    asked = [{"role": "user", "content": "7?"}, {"role": "tool", "content": "1000 lines [truncated]"}]
    assert not only(traces(span("call", attributes=CHAT | {"gen_ai.input.messages": asked}))).incomplete


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"gen_ai.output.messages": '[{"role": "assistant", "parts": [{"ty'},
            "cut by an attribute length limit",
        ),
        ({"gen_ai.input.messages": '[{"role": "us'}, "cut by an attribute length limit"),
        ({"gen_ai.input.messages": "Where is 7?"}, "`gen_ai.input.messages` is no JSON list"),
        ({"gen_ai.output.messages": [7]}, "messages must be objects"),
        ({"gen_ai.output.messages": '[{"role": "assistant", "content": NaN}]'}, "NaN is not JSON"),
        ({"gen_ai.output.messages": [{"role": "user", "content": "x"}]}, "not the assistant's"),
    ],
)
def test_what_cannot_be_read_is_told(more: dict[str, Any], words: str) -> None:
    """Never a part of an answer, and with the way out."""
    assert words in refusal(traces(span("call", attributes=as_text(CHAT | more))))


def test_content_that_lies_elsewhere_is_told() -> None:
    """A reference is no answer."""
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.output.messages_ref": "s3://b/2"}
    assert "the content is not in the log: `gen_ai.output.messages_ref`" in refusal(
        traces(span("call", attributes=attributes))
    )


def test_calls_that_gave_no_answer_are_skipped() -> None:
    """By their reason: an error, nothing said, a thought alone, a filter."""

    def said(part: dict[str, Any], finish: str = "stop") -> Any:
        output = [{"role": "assistant", "parts": [part], "finish_reason": finish}]
        return traces(span("call", attributes=CHAT | {"gen_ai.output.messages": output}))

    text = {"type": "text", "content": ""}
    assert kinds(
        traces(span("call", attributes=CHAT, status={"code": 2})),
        traces(span("call", attributes=CHAT | {"error.type": "timeout"})),
        said(text),
        said({"type": "reasoning", "content": "Hm."}),
        said(text, "content_filter"),
        logs(log(DETAILS, "call", attributes=CHAT | {"gen_ai.output.messages": []})),
    ) == [
        SkipReason.ERROR, SkipReason.ERROR, SkipReason.EMPTY, SkipReason.THOUGHT, SkipReason.WITHHELD, "call",
    ]  # fmt: skip


def test_one_bad_span_takes_no_other_with_it() -> None:
    """In protobuf as well, where nothing else checks its text."""
    bad = span("bad", attributes=CHAT | {"gen_ai.request.model": "m\0"})
    request = traces(span("a", attributes=CHAT), bad, span("c", attributes=CHAT))
    assert kinds(proto(request)) == ["a", "DecodeError", "c"]


def test_what_cannot_be_read_keeps_its_own_bytes() -> None:
    """Not the request's, once for each of its spans; and those can be read, once what is wrong is mended."""
    cut = span("cut", attributes=CHAT | {"gen_ai.output.messages": '[{"role'})
    request = traces(*[span(f"a{at}", attributes=as_text(CHAT)) for at in range(50)], cut)
    message = log("gen_ai.choice", "a", body={"kvlistValue": {"values": [
        {"key": "content", "value": {"intValue": "7"}}]}})  # fmt: skip
    for each in (request, logs(message, *[log("x", "a")] * 200)):
        (found,) = (event for event in decoded(proto(each)) if isinstance(event, DecodeError))
        assert found.body is not None
        assert len(found.body) < 1000
        (again,) = decoded(found.body)
        assert str(again) == str(found)
    (alone,) = decoded(traces(cut))
    assert isinstance(alone, DecodeError)
    assert alone.body is None


def test_what_is_no_request_is_told() -> None:
    """Metrics of the same collector, bytes that break off, and too many spans."""
    metrics = ExportMetricsServiceRequest()
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add()
    metric.name, metric.description, metric.unit = "latency", "of calls", "s"
    (found,) = decoded(metrics.SerializeToString())
    assert isinstance(found, UnknownFormatError)
    whole = proto(traces(span("a", attributes=CHAT)))
    assert len(decoded(whole)) == 1
    (broken,) = decoded(whole[:-3])
    assert isinstance(broken, DecodeError)
    many: Any = {"resourceSpans": [{"scopeSpans": [{"spans": [{}] * (MOST_SPANS + 1)}]}]}
    assert f"more than {MOST_SPANS} spans" in refusal(many)
    assert "holds no event" in refusal(traces())


def test_by_name() -> None:
    """`otlp` reads both encodings, and nothing else."""
    decoders = Decoders("otlp")
    request = traces(span("a", attributes=CHAT))
    for raw in (json.dumps(request).encode(), proto(request)):
        assert [type(each) for each in decoders.decode(raw, source="s", timestamp=1.0)] == [Span]
    (other,) = decoders.decode(b'{"messages": [], "output": []}', source="s", timestamp=1.0)
    assert isinstance(other, UnknownFormatError)


def test_a_call_alone() -> None:
    """A span without ids, as some write one a line, is a trace by itself; one without content is skipped."""
    (found,) = decoded({"name": "chat m", "attributes": as_text(CHAT)})
    assert isinstance(found, Trace)
    assert (found.ts, found.output[0].content, len(found.id)) == (5.0, "In Ulm.", 64)
    (named,) = decoded({"attributes": as_text(CHAT | {"gen_ai.response.id": "r-1"})})
    assert isinstance(named, Trace)
    assert named.id == "r-1"
    assert decoded({"attributes": {"gen_ai.usage.input_tokens": 209}}) == [Skipped(SkipReason.NO_CONTENT)]
    (unasked,) = decoded(
        {"attributes": {"gen_ai.output.messages": json.dumps(CHAT["gen_ai.output.messages"])}}
    )
    assert "an answer without what the model was asked" in str(unasked)


def test_usage_is_counted_one_way() -> None:
    """With what caches gave, whoever counts it."""
    for attributes, right in (
        ({"input_tokens": 10, "cache_read.input_tokens": 8}, 10),
        ({"input_tokens": 2, "cache_read.input_tokens": 8}, 10),
        ({"input_tokens": 2, "cache_read.input_tokens": 3, "cache_creation.input_tokens": 5}, 10),
    ):
        more = {f"gen_ai.usage.{key}": count for key, count in (attributes | {"output_tokens": 4}).items()}
        found = only(traces(span("call", attributes=CHAT | more))).usage
        assert found is not None
        assert (found.input_tokens, found.output_tokens) == (right, 4)
