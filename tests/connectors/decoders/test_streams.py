"""A stream that nobody assembled is the completion that it is of, in whatever form the log has it."""

import json
from typing import Any

import pytest

from connectors.decoders import eventstream
from connectors.decoders.chunks import assembled
from connectors.errors import DecodeError
from connectors.events import SkipReason
from policies.records import TokenUsage, ToolCall, Trace
from tests.connectors.decoders.test_decoders import decode, reason, skipped, trace

ASKED = {"model": "live", "messages": [{"role": "user", "content": "Where is parcel 7?"}]}


def chunk(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {"id": "s-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "agent-7"}
    return {**head, "choices": list(choices), **more}


def piece(index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish}


WHOLE = [
    chunk(piece(role="assistant", content="")),
    chunk(piece(content="In ")),
    chunk(piece(content="transit.")),
    chunk(piece(finish="stop")),
    chunk(usage={"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}}),
]


def sse(chunks: list[Any], end: str = "\n", done: str = "data: [DONE]") -> str:
    lines = [line for each in chunks for line in (f"data: {json.dumps(each)}", "")]
    return end.join([": keep-alive", "", *lines, done, ""])


def pair(response: Any, request: Any = ASKED) -> dict[str, Any]:
    return {"request": request, "response": response}


@pytest.mark.parametrize(
    "value",
    [
        pair(WHOLE),
        pair(sse(WHOLE)),
        pair(sse(WHOLE, "\r\n")),
        pair(sse(WHOLE, "\r")),
        pair(sse(WHOLE, done="")),
        pair(sse(WHOLE).rstrip()),
        pair(sse(WHOLE).replace("data: {", "event: chunk\ndata:{")),
        pair([json.dumps(each) for each in WHOLE]),
        pair(sse(WHOLE).split("\n")),
        pair(json.dumps(WHOLE)),
        pair({"status": 200, "headers": {}, "body": sse(WHOLE)}),
        pair({"status_code": 200, "body": WHOLE}, {"method": "POST", "body": json.dumps(ASKED)}),
        pair(sse(WHOLE), json.dumps(ASKED)),
        {"body": pair(WHOLE)},
        {"ts": 5, "body": json.dumps(pair(sse(WHOLE)))},
        {**ASKED, "response": WHOLE},
    ],
)
def test_every_form_of_a_stream(value: Any) -> None:
    """The same trace from each."""
    found = trace(value)
    assert (found.id, found.model, found.ts) == ("s-1", "agent-7", 1_700_000_000.0)
    assert [message.content for message in found.messages + found.output] == [
        "Where is parcel 7?",
        "In transit.",
    ]
    assert (found.tags, found.truncated) == ({"finish_reason": "stop"}, False)
    assert found.usage == TokenUsage(input_tokens=12, output_tokens=3, cache_read_tokens=8)


def test_a_stream_in_pieces_of_several_choices_and_calls() -> None:
    """A first piece without choices, a role of null later, a call's id in its first piece, two choices."""
    name = {"id": "call_1", "function": {"name": "track", "arguments": '{"n"'}}
    pieces = [
        chunk(),
        chunk(piece(role="assistant", tool_calls=[{"index": 0, **name}])),
        chunk(
            piece(1, role="assistant", content="In "),
            piece(role=None, tool_calls=[{"index": 0, "function": {"arguments": ":7}"}}]),
        ),
        chunk(
            piece(1, content="Ulm."),
            piece(tool_calls=[{"index": 1, "id": "b", "function": {"name": "map", "arguments": ""}}]),
        ),
        chunk(piece(1, "length"), piece(0, "tool_calls")),
    ]
    first, second = (each for each in decode(pair(pieces)) if isinstance(each, Trace))
    assert (first.id, second.id) == ("s-1", "s-1#1")
    assert first.output[0].tool_calls == (
        ToolCall(name="track", arguments={"n": 7}, id="call_1"),
        ToolCall(name="map", arguments={}, id="b"),
    )
    assert (second.output[0].content, second.truncated) == ("In Ulm.", True)


@pytest.mark.parametrize("index", [None, 0])
def test_calls_that_no_index_tells_apart(index: int | None) -> None:
    """Another id is another call; a name that is repeated is not doubled."""
    at = {} if index is None else {"index": index}
    deltas = [
        {"id": "a", "function": {"name": "track", "arguments": '{"n":'}},
        {"id": "a", "function": {"name": "track", "arguments": "7}"}},
        {"id": "b", "function": {"name": "track", "arguments": '{"n":8}'}},
    ]
    pieces = [chunk(piece(tool_calls=[at | delta])) for delta in deltas]
    (found,) = trace(pair([*pieces, chunk(piece(finish="tool_calls"))])).output
    assert [(call.id, call.arguments) for call in found.tool_calls] == [("a", {"n": 7}), ("b", {"n": 8})]


@pytest.mark.parametrize(
    ("deltas", "content", "reasoning"),
    [
        ([{"reasoning_content": "Se"}, {"reasoning_content": "ven."}, {"content": "Here."}],
         "Here.", "Seven."),
        ([{"content": "<think>Se"}, {"content": "ven.</think>Here."}], "Here.", "Seven."),
        ([{"refusal": "I can"}, {"refusal": "not."}], "I cannot.", ""),
        ([{"audio": {"transcript": "He"}}, {"audio": {"transcript": "re."}}], "Here.", ""),
        ([{"content": [{"type": "text", "text": "He"}]}, {"content": [{"type": "text", "text": "re."}]}],
         "Here.", ""),
        ([{"content": None}, {"content": "Here."}], "Here.", ""),
    ],
)  # fmt: skip
def test_what_pieces_hold(deltas: list[dict[str, Any]], content: str, reasoning: str) -> None:
    """Text, thought, refusal or speech, each put together in its place."""
    (said,) = trace(pair([*(chunk(piece(**delta)) for delta in deltas), chunk(piece(finish="stop"))])).output
    assert (said.content, said.reasoning) == (content, reasoning)


@pytest.mark.parametrize("form", [list, sse])
def test_a_stream_whose_end_never_came_is_refused(form: Any) -> None:
    """What is there of it is no answer; a choice that ended keeps its own."""
    why = reason(pair(form(WHOLE[:3])))
    assert "that broke off before its end: its `finish_reason` never came" in why
    assert "`response.choices[0]` is of " in why
    assert "none of its chunks holds a choice" in reason(pair(form([chunk()])))
    two = [chunk(piece(0, content="a"), piece(1, content="b")), chunk(piece(1, "stop"))]
    found = decode(pair(form(two)))
    assert [type(each) for each in found] == [DecodeError, Trace]


def test_a_stream_that_ends_in_an_error_is_skipped() -> None:
    """As a response that is one."""
    failing = {"error": {"code": 502, "message": "upstream"}, "choices": []}
    assert skipped(pair([WHOLE[1], failing])) is SkipReason.ERROR
    assert skipped(pair(sse([WHOLE[1], failing]))) is SkipReason.ERROR
    assert skipped(pair({"status_code": 503, "body": "Service Unavailable"})) is SkipReason.ERROR
    assert skipped(pair([])) is SkipReason.EMPTY


@pytest.mark.parametrize(
    ("response", "words"),
    [
        ('data: {"choices": [', "`response` is a raw stream (SSE text) that cannot be read: not JSON"),
        ('data: {"a": 1}, {"b": 2}\n\n', "an event that is not one JSON value"),
        ('data: {"a": 1, "a": 2}\n\n', "written twice"),
        ('{"choices": [{"message"', "`response` is text that holds JSON and cannot be read: not JSON"),
        ({"body": '{"choices"'}, "`response.body` is text that holds JSON and cannot be read"),
        ([chunk(), 5], "`response[1]` must be an object: a piece of the stream"),
        ([chunk(5)], "`response[0].choices` must hold objects"),  # type: ignore[arg-type]
        ("data: 1\n\n" * 100_001, "more than 100000 events"),
    ],
)
def test_what_cannot_be_read_of_a_body(response: Any, words: str) -> None:
    """Is refused with its place, and says nothing against the decoder."""
    assert words in reason(pair(response))


def test_lines_of_an_event() -> None:
    """Data over several lines belong together; text may hold any other separator."""
    assert eventstream.events('data: [1,\ndata: 2]\n\nid: 4\n\ndata: "\u2028"', "r") == [[1, 2], "\u2028"]


def test_an_assembled_stream_reads_like_a_completion() -> None:
    """Keys and all."""
    assert assembled(WHOLE[:4], "r") == {
        "id": "s-1", "created": 1_700_000_000, "model": "agent-7",
        "choices": [
            {"index": 0, "finish_reason": "stop",
             "message": {"role": "assistant", "content": "In transit."}}
        ],
    }  # fmt: skip
