"""Payloads of real instrumentations: what a reader finds in each of them, written down from the files."""

from pathlib import Path

import pytest

from connectors.events import Skipped, SkipReason
from policies.joining import joined
from policies.records import Message, TokenUsage, ToolCall, Trace
from policies.spans import Span
from tests.conftest import ROOT
from tests.connectors.decoders.otlp.requests import decoded, read

DATA = ROOT.parent / "shared" / "data" / "agent_logs"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}: the written cases beside it stay")

ENCODINGS = pytest.mark.parametrize("encoding", ["otlp_json.json", "otlp_proto.bin"])

RULES = Message(role="system", content="You are a calculator.")
ASKED = Message(role="user", content="What is 45+79?")
CALL = ToolCall(name="add", arguments={"a": 45, "b": 79}, id="call_Qm51xgE57uzoj2f6qkZAWwb4")
CALLED = Message(role="assistant", tool_calls=(CALL,))
SUM = Message(role="tool", content="124", tool_call_id=CALL.id, name="add")
SAID = Message(role="assistant", content="The sum of 45 plus 79 is 124.")
NUMBERS = {"a": {"type": "integer"}, "b": {"type": "integer"}}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers",
        "parameters": {"type": "object", "properties": NUMBERS, "required": ["a", "b"]},
    },
}
TAGS = {
    "finish_reason": "stop",
    "requested_model": "agent-live",
}


def record(name: str, encoding: str) -> bytes:
    return (DATA / f"real_{name}.{encoding}").read_bytes()


def answer(ts: float, **more: object) -> Trace:
    """What every one of the OpenAI agents answered: the second step of its loop, with the first one in it."""
    told: dict[str, object] = {
        "id": "chatcmpl-DLVlwDcxt92QTOPrxucH9tuwPXJ3g",
        "source": "s",
        "ts": ts,
        "messages": (RULES, ASKED, CALLED, SUM),
        "output": (SAID,),
        "model": "gpt-4.1-nano-2025-04-14",
        "session": "sess-42",
        "tools": (ADD,),
        "tags": TAGS,
        "usage": TokenUsage(input_tokens=189, output_tokens=13),
        **more,
    }
    return Trace.model_validate(told)


@ENCODINGS
@pytest.mark.parametrize(
    ("name", "ended"),
    [
        ("v2_spans", 1795217111.784287702),
        ("openllmetry_spans", 1795216950.392090624),
        ("openinference_spans", 1795216948.747936925),
    ],
)
def test_an_agent_with_its_content_on_spans(name: str, ended: float, encoding: str) -> None:
    """Two calls and the agent's own span are one answer, of the session that the agent's span names."""
    found = decoded(record(name, encoding))
    assert [type(each) for each in found] == [Span] * 3
    assert read(record(name, encoding)) == [answer(ended)]


@ENCODINGS
def test_an_agent_with_its_content_on_log_records(encoding: str) -> None:
    """Spans without content and one record for each call, whichever comes first."""
    spans, logs = record("v2_event_spans", encoding), record("v2_event_logs", encoding)
    assert read(spans, logs) == [answer(1795217113.124641642)]
    assert read(logs, spans) == read(spans, logs)
    without = joined([each for each in decoded(spans) if isinstance(each, Span)])
    assert (without.traces, without.blank) == ((), 2)


@ENCODINGS
def test_log_records_beside_spans_that_have_the_content(encoding: str) -> None:
    """Add nothing, and are skipped."""
    found = decoded(record("v2_logs", encoding))
    assert found == [Skipped(SkipReason.NO_CONTENT)] * 2
    spans = record("v2_spans", encoding)
    assert read(spans, record("v2_logs", encoding)) == read(spans)


@ENCODINGS
def test_an_agent_with_a_log_record_for_each_message(encoding: str) -> None:
    """The older convention: roles are in the events' names, and the model is on the span. It has no tools."""
    spans, logs = record("v2_legacy_spans", encoding), record("v2_legacy_logs", encoding)
    unnamed = SUM.model_copy(update={"name": None})
    right = answer(1795217117.051815856, messages=(RULES, ASKED, CALLED, unnamed), tools=())
    assert read(spans, logs) == read(logs, spans) == [right]


@ENCODINGS
def test_an_anthropic_agent(encoding: str) -> None:
    """The SDK's own span says the same call again without content: there is one answer, with its thought."""
    made = read(record("oi_anthropic_spans", encoding))
    location = {"type": "object", "properties": {"location": {"type": "string"}}}
    call = ToolCall(
        name="get_weather", arguments={"location": "San Francisco"}, id="toolu_01Lb15KzZHz63KFSjmBpc4Fx"
    )
    said = Message(
        role="assistant",
        content="Sure! Let me check the weather in San Francisco for you!",
        reasoning="The user wants to know the weather in San Francisco. I have all the required parameters "
        "to make the function call.",
        tool_calls=(call,),
    )
    assert made == [
        Trace(
            id="msg_01NuGqPL1JZVKeaShZ54fAQj",
            source="s",
            ts=1795216952.497176988,
            messages=(
                Message(role="system", content="You are a helpful bot"),
                Message(role="user", content="Weather in San Francisco?"),
            ),
            output=(said,),
            model="claude-sonnet-4-6",
            session="sess-42",
            tools=({"type": "function", "function": {"name": "get_weather", "parameters": location}},),
            tags={
                "finish_reason": "tool_use",
                "requested_model": "claude-sonnet-4-6",
            },
            usage=TokenUsage(input_tokens=596, output_tokens=99, reasoning_tokens=28),
        )
    ]
    parts = [each for each in decoded(record("oi_anthropic_spans", encoding)) if isinstance(each, Span)]
    assert joined(parts).blank == 0


def test_every_file_is_read() -> None:
    """None is left without a test here but the one that is not of OpenTelemetry."""
    read_here = {
        f"real_{name}.{encoding}"
        for name in (
            "v2_spans", "v2_logs", "v2_event_spans", "v2_event_logs", "v2_legacy_spans", "v2_legacy_logs",
            "openllmetry_spans", "openinference_spans", "oi_anthropic_spans",
        )
        for encoding in ("otlp_json.json", "otlp_proto.bin")
    }  # fmt: skip
    there = {path.name for path in Path(DATA).glob("*otlp*")}
    assert there == read_here
