"""Calls of Anthropic's messages API, whole and streamed."""

import json
from typing import Any

import pytest

from connectors.events import SkipReason
from policies.records import Message, TokenUsage, ToolCall
from tests.connectors.decoders.test_decoders import decode, reason, skipped, trace

REQUEST = {
    "model": "claude-live",
    "max_tokens": 500,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "metadata": {"user_id": "u-7"},
    "tools": [{"name": "track", "description": "Finds it.", "input_schema": {"type": "object"}}],
    "messages": [
        {"role": "user", "content": "Where is parcel 7?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I must look.", "signature": "c2ln"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "track", "input": {"n": 7}},
                {"type": "tool_use", "id": "toolu_2", "name": "track", "input": {"n": 8}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "in Ulm"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": True,
                 "content": [{"type": "text", "text": "unknown"}]},
                {"type": "text", "text": "And?"},
            ],
        },
    ],
}  # fmt: skip
USAGE = {
    "input_tokens": 10, "cache_read_input_tokens": 80, "cache_creation_input_tokens": 5, "output_tokens": 9,
}  # fmt: skip
RESPONSE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-7-support",
    "content": [
        {"type": "thinking", "thinking": "Seven is in Ulm.", "signature": "c2ln"},
        {"type": "text", "text": "It is "},
        {"type": "text", "text": "in Ulm.", "citations": []},
        {"type": "tool_use", "id": "toolu_3", "name": "notify", "input": {"who": "Ada"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": USAGE,
}


def pair(response: Any, **request: Any) -> dict[str, Any]:
    return {"request": REQUEST | request, "response": response, "ts": 1_700_000_000.5}


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    told = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    begun = {"type": "content_block_start", "index": index, "content_block": start}
    return [begun, *told, {"type": "content_block_stop", "index": index}]


STREAM = [
    {"type": "ping"},
    {"type": "message_start", "message": {**RESPONSE, "content": [], "stop_reason": None,
     "usage": {**USAGE, "output_tokens": 1}}},
    *block(0, {"type": "thinking", "thinking": "", "signature": ""},
           {"type": "thinking_delta", "thinking": "Seven is "},
           {"type": "thinking_delta", "thinking": "in Ulm."},
           {"type": "signature_delta", "signature": "c2ln"}),
    *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "It is in"},
           {"type": "text_delta", "text": " Ulm."}),
    *block(2, {"type": "tool_use", "id": "toolu_3", "name": "notify", "input": {}},
           {"type": "input_json_delta", "partial_json": ""},
           {"type": "input_json_delta", "partial_json": '{"who": "A'},
           {"type": "input_json_delta", "partial_json": 'da"}'}),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]  # fmt: skip


def sse(pieces: list[Any]) -> str:
    return "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in pieces)


@pytest.mark.parametrize(
    "response",
    [RESPONSE, json.dumps(RESPONSE), {"status_code": 200, "body": RESPONSE}, STREAM, sse(STREAM),
     {"body": sse(STREAM)}],
)  # fmt: skip
def test_a_message(response: Any) -> None:
    """Blocks become turns: a tool's result is a turn of its own, a thought is no part of the text."""
    found = trace(pair(response))
    assert (found.id, found.model, found.subject, found.ts) == (
        "msg_1",
        "claude-7-support",
        "u-7",
        1.7e9 + 0.5,
    )
    calls = (ToolCall(name="track", arguments={"n": 7}, id="toolu_1"),
             ToolCall(name="track", arguments={"n": 8}, id="toolu_2"))  # fmt: skip
    assert found.messages == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Where is parcel 7?"),
        Message(role="assistant", content="Let me look.", reasoning="I must look.", tool_calls=calls),
        Message(role="tool", content="in Ulm", tool_call_id="toolu_1", name="track"),
        Message(role="tool", content="unknown", tool_call_id="toolu_2", name="track"),
        Message(role="user", content="And?"),
    )
    assert found.output == (
        Message(
            role="assistant", content="It is in Ulm.", reasoning="Seven is in Ulm.",
            tool_calls=(ToolCall(name="notify", arguments={"who": "Ada"}, id="toolu_3"),),
        ),
    )  # fmt: skip
    function = {"name": "track", "description": "Finds it.", "parameters": {"type": "object"}}
    assert found.tools == ({"type": "function", "function": function},)
    assert found.usage == TokenUsage(
        input_tokens=95, output_tokens=9, cache_read_tokens=80, cache_write_tokens=5
    )
    assert found.tags == {"requested_model": "claude-live", "finish_reason": "tool_use"}
    assert (found.truncated, found.unshown) == (False, False)


@pytest.mark.parametrize(
    ("stop", "content", "truncated", "unshown"),
    [
        ("end_turn", [{"type": "text", "text": "Here."}], False, False),
        ("max_tokens", [{"type": "text", "text": "Her"}], True, False),
        ("refusal", [{"type": "text", "text": "Her"}], True, False),
        ("pause_turn", [{"type": "text", "text": "Her"}], True, False),
        ("end_turn", "Here.", False, False),
        ("end_turn", [{"type": "server_tool_use", "name": "web_search", "input": {}, "id": "s"},
                      {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
                      {"type": "text", "text": "Here."}], False, True),
    ],
)  # fmt: skip
def test_how_a_message_ended(stop: str, content: Any, truncated: bool, unshown: bool) -> None:
    """Cut off, broken off by a filter, or with parts that are no text."""
    found = trace(pair({**RESPONSE, "content": content, "stop_reason": stop}))
    assert (found.truncated, found.unshown) == (truncated, unshown)


@pytest.mark.parametrize(
    ("response", "why"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, SkipReason.ERROR),
        ([*STREAM[:4], {"type": "error", "error": {"type": "overloaded_error"}}], SkipReason.ERROR),
        ({"status": 529, "body": RESPONSE}, SkipReason.ERROR),
        ({**RESPONSE, "content": []}, SkipReason.EMPTY),
        ({**RESPONSE, "content": [], "stop_reason": "refusal"}, SkipReason.WITHHELD),
        ({**RESPONSE, "content": RESPONSE["content"][:1]}, SkipReason.THOUGHT),  # type: ignore[index]
    ],
)
def test_what_is_no_answer(response: Any, why: SkipReason) -> None:
    """Is skipped by its reason."""
    assert skipped(pair(response)) is why


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (pair(STREAM[:-2]), "is of a list of stream chunks that broke off before its end: its `stop_reason`"),
        (pair(sse(STREAM[:-2])), "`response` is of a raw stream (SSE text) that broke off"),
        (RESPONSE, "a message without its request"),
        (pair({**RESPONSE, "content": 5}), "`response.content` must be a list of blocks"),
        (pair(RESPONSE, messages=[]), "`request.messages` must be a list with at least one message"),
        (pair(RESPONSE, messages=[5]), "`request's turns[1]` must be an object"),
        (pair([*STREAM[:3], 5]), "`response[3]` must be an object"),
    ],
)
def test_what_is_refused(value: Any, words: str) -> None:
    """With its place, and nothing against the decoder."""
    assert words in reason(value)
    assert words in reason(value, "anthropic")


def test_a_message_without_an_id_is_named_by_its_content() -> None:
    """So that it is one event, however often it comes."""
    (first,), (second,) = (decode(pair({**RESPONSE, "id": None})) for _ in range(2))
    assert first == second
