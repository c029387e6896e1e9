"""Calls of OpenAI's responses API, whole and streamed."""

import json
from typing import Any

import pytest

from connectors.events import SkipReason
from policies.records import Message, TokenUsage, ToolCall
from tests.connectors.decoders.test_decoders import reason, skipped, trace

REQUEST = {
    "model": "live",
    "instructions": "Be brief.",
    "safety_identifier": "u-7",
    "metadata": {"tenant": "acme"},
    "tools": [{"type": "function", "name": "track", "parameters": {"type": "object"}, "strict": True},
              {"type": "web_search"}],
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Where is parcel 7?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "I must look."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text",
         "text": "Let me look."}]},
        {"type": "function_call", "id": "fc_1", "call_id": "call_9", "name": "track",
         "arguments": '{"n": 7}'},
        {"type": "custom_tool_call", "call_id": "call_10", "name": "grep", "input": "parcel 7"},
        {"type": "function_call_output", "call_id": "call_9", "output": "in Ulm"},
        {"type": "custom_tool_call_output", "call_id": "call_10", "output": "nothing"},
    ],
}  # fmt: skip
ANSWER = {
    "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
    "content": [{"type": "output_text", "text": "It is in Ulm.", "annotations": []}],
}  # fmt: skip
OUTPUT = [
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Seven is there."}]},
    ANSWER,
    {"type": "function_call", "id": "fc_2", "call_id": "call_11", "name": "notify", "arguments": "{}"},
]
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1_700_000_000.0, "model": "agent-7",
    "status": "completed", "error": None, "incomplete_details": None, "output": OUTPUT,
    "previous_response_id": None, "conversation": None,
    "usage": {"input_tokens": 50, "output_tokens": 9, "input_tokens_details": {"cached_tokens": 20},
              "output_tokens_details": {"reasoning_tokens": 4}},
}  # fmt: skip
STREAM = [
    {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": []}},
    {"type": "response.output_text.delta", "output_index": 1, "delta": "It is"},
    *({"type": "response.output_item.done", "output_index": at, "item": each}
      for at, each in enumerate(OUTPUT)),
    {"type": "response.completed", "response": RESPONSE},
]  # fmt: skip


def pair(response: Any, **request: Any) -> dict[str, Any]:
    return {"request": REQUEST | request, "response": response}


def sse(pieces: list[Any]) -> str:
    return "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in pieces)


@pytest.mark.parametrize(
    "value",
    [
        pair(RESPONSE), pair(json.dumps(RESPONSE)), pair({"status": 200, "body": RESPONSE}),
        pair(STREAM), pair(sse(STREAM)), {**REQUEST, "response": RESPONSE},
        pair([*STREAM[:-1], {"type": "response.completed", "response": {**RESPONSE, "output": []}}]),
    ],
)  # fmt: skip
def test_a_response(value: Any) -> None:
    """Items become turns; a result belongs to its call by `call_id`."""
    found = trace(value)
    assert (found.id, found.model, found.subject, found.ts) == ("resp_1", "agent-7", "u-7", 1.7e9)
    calls = (ToolCall(name="track", arguments={"n": 7}, id="call_9"),
             ToolCall(name="grep", arguments={"_unparsed": "parcel 7"}, id="call_10"))  # fmt: skip
    assert found.messages == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Where is parcel 7?"),
        Message(role="assistant", content="Let me look.", reasoning="I must look.", tool_calls=calls),
        Message(role="tool", content="in Ulm", tool_call_id="call_9", name="track"),
        Message(role="tool", content="nothing", tool_call_id="call_10", name="grep"),
    )
    assert found.output == (
        Message(
            role="assistant", content="It is in Ulm.", reasoning="Seven is there.",
            tool_calls=(ToolCall(name="notify", arguments={}, id="call_11"),),
        ),
    )  # fmt: skip
    assert [tool["type"] for tool in found.tools] == ["function", "web_search"]
    assert found.tools[0]["function"]["name"] == "track"
    assert found.usage == TokenUsage(
        input_tokens=50, output_tokens=9, cache_read_tokens=20, reasoning_tokens=4
    )
    assert found.tags == {"requested_model": "live", "tenant": "acme", "finish_reason": "completed"}
    assert (found.truncated, found.unshown, found.incomplete) == (False, False, False)


@pytest.mark.parametrize(
    ("request_keys", "response_keys"),
    [
        ({"previous_response_id": "resp_0"}, {}),
        ({}, {"previous_response_id": "resp_0"}),
        ({"conversation": "conv_1"}, {}),
        ({}, {"conversation": {"id": "conv_1"}}),
        ({"prompt": {"id": "pmpt_1"}, "instructions": None}, {}),
        ({"input": [{"type": "item_reference", "id": "msg_0"}, {"role": "user", "content": "And 8?"}]}, {}),
        (
            {"input": [{"type": "compaction", "encrypted_content": "x"}, {"role": "user", "content": "8?"}]},
            {},
        ),
    ],
)
def test_a_history_that_lies_elsewhere(request_keys: dict[str, Any], response_keys: dict[str, Any]) -> None:
    """The trace says so, so that nothing learns from it."""
    found = trace(pair({**RESPONSE, **response_keys}, **request_keys))
    assert found.incomplete
    assert found.digest != found.model_copy(update={"incomplete": False}).digest
    named = "conversation" in (*request_keys, *response_keys)
    assert found.session == ("conv_1" if named else None)


def test_a_stored_prompt_that_the_response_shows_is_no_gap() -> None:
    """Its instructions are there."""
    shown = [{"role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]}]
    told = {**RESPONSE, "instructions": shown}
    found = trace(pair(told, prompt={"id": "pmpt_1"}, instructions=None))
    assert not found.incomplete
    assert found.messages[0] == Message(role="system", content="Be brief.")


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"status": "failed", "error": {"code": "server_error"}, "output": []}, SkipReason.ERROR),
        ({"status": "cancelled", "output": []}, SkipReason.ERROR),
        ({"status": "in_progress", "output": []}, SkipReason.EMPTY),
        ({"output": []}, SkipReason.EMPTY),
        ({"output": [{"type": "reasoning", "summary": []}, {**ANSWER, "content": []}]}, SkipReason.EMPTY),
        ({"output": OUTPUT[:1]}, SkipReason.THOUGHT),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": []},
         SkipReason.WITHHELD),
    ],
)  # fmt: skip
def test_what_is_no_answer(keys: dict[str, Any], why: SkipReason) -> None:
    """Is skipped by its reason, whether or not its history is whole."""
    assert skipped(pair({**RESPONSE, **keys})) is why
    assert skipped(pair({**RESPONSE, **keys}, previous_response_id="resp_0")) is why


def test_how_a_response_ended() -> None:
    """Cut off at a limit, or with what the provider ran itself."""
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": [ANSWER]}
    assert trace(pair({**RESPONSE, **cut})).truncated
    searched = [{"type": "web_search_call", "id": "ws_1", "status": "completed"}, ANSWER]
    found = trace(pair({**RESPONSE, "output": searched}))
    assert (found.output[0].content, found.unshown) == ("[web_search_call]\nIt is in Ulm.", True)
    refused = {**ANSWER, "content": [{"type": "refusal", "refusal": "I cannot."}]}
    assert trace(pair({**RESPONSE, "output": [refused]})).output[0].content == "I cannot."
    two = trace(pair({**RESPONSE, "output": [ANSWER, {**ANSWER, "id": "msg_2"}]}))
    assert two.output[0].content == "It is in Ulm.\nIt is in Ulm."


@pytest.mark.parametrize("history", [[], REQUEST["input"][:1]])  # type: ignore[index]
def test_turns_stay_apart(history: list[Any]) -> None:
    """A message after calls begins a turn; what the user sends that is no text is named."""
    items = [
        *history,
        {"type": "function_call", "call_id": "a", "name": "x", "arguments": ""},
        {"type": "message", "role": "assistant", "content": "One."},
        {"type": "computer_call", "call_id": "b"},
        {"type": "computer_call_output", "call_id": "b", "output": {"type": "computer_screenshot"}},
        {"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]},
    ]
    told = [(each.role, each.content) for each in trace(pair(RESPONSE, input=items)).messages[1:]]
    assert told[len(history) :] == [
        ("assistant", ""), ("assistant", "One.\n[computer_call]"), ("tool", "[computer_call_output]"),
        ("user", "[input_image]"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (pair(STREAM[:-1]), "`response` is a list of stream chunks that broke off before its end"),
        (pair(sse(STREAM[:-1])), "`response` is a raw stream (SSE text) that broke off before its end"),
        (RESPONSE, "a response without its request"),
        (pair(RESPONSE, input=5), "`request.input` must be text or a list of items"),
        (pair(RESPONSE, input=[5]), "`request.input[0]` must be an object"),
        (pair({**RESPONSE, "output": 5}), "`response.output` must be a list of items"),
        (pair({**RESPONSE, "output": [5]}), "`response.output[0]` must be an object"),
        (pair({**RESPONSE, "output": [{"type": "function_call", "call_id": "a"}]}), "a call without a name"),
    ],
)
def test_what_is_refused(value: Any, words: str) -> None:
    """With its place, and nothing against the decoder."""
    assert words in reason(value)
    assert words in reason(value, "openai_responses")
