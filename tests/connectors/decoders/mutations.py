"""Events of every format, whole and damaged in ways that keep most of them: what strangers may send."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.connectors.decoders.events import native, openai

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is parcel 7?"}]
CALL = {"id": "c", "type": "function", "function": {"name": "track", "arguments": '{"n": 7}'}}
BLOCKS = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "In Ulm."},
          {"type": "tool_use", "id": "c", "name": "track", "input": {"n": 7}}]  # fmt: skip
ITEMS = [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
         {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "In Ulm."}]},
         {"type": "function_call", "call_id": "c", "name": "track", "arguments": "{}"}]  # fmt: skip
MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": BLOCKS,
           "stop_reason": "tool_use", "usage": {"input_tokens": 5, "output_tokens": 2}}  # fmt: skip
RESPONSE = {"id": "r", "object": "response", "status": "completed", "model": "x", "output": ITEMS,
            "created_at": 1.7e9, "usage": {"input_tokens": 5, "output_tokens": 2}}  # fmt: skip
CHUNKS = [
    {"id": "s", "model": "x", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "In"}}]},
    {"id": "s", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **CALL}]}}]},
    {"id": "s", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {}},
]
EVENTS = [
    {"type": "message_start", "message": {**MESSAGE, "content": []}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "In Ulm."}},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "c", "name": "t"},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
]


def sse(pieces: list[Any]) -> str:
    return "".join(f"event: x\ndata: {json.dumps(each)}\n\n" for each in pieces)


def pair(response: Any, **request: Any) -> dict[str, Any]:
    return {"request": {"model": "live", "messages": ASKED, **request}, "response": response}


def litellm() -> dict[str, Any]:
    return {
        "litellm_call_id": "l", "call_type": "acompletion", "status": "success", "messages": ASKED,
        "response": openai()["response"], "endTime": 1.7e9, "request_tags": ["a:b"], "metadata": {},
        "model_parameters": {"tools": [{"type": "function", "function": {"name": "track"}}]},
    }  # fmt: skip


def langfuse() -> dict[str, Any]:
    one = {"id": "o", "traceId": "t", "type": "GENERATION", "startTime": "2026-11-20T12:00:00Z",
           "input": {"messages": ASKED}, "output": {"role": "assistant", "content": "In Ulm."},
           "usageDetails": {"input": 3, "output": 1}}  # fmt: skip
    return {"data": [one, {**one, "type": "SPAN"}]}


def langsmith() -> dict[str, Any]:
    kwargs = {"content": "", "tool_calls": [{"name": "track", "args": {"n": 7}, "id": "c"}]}
    said = {"lc": 1, "type": "constructor", "id": ["x", "AIMessage"], "kwargs": kwargs}
    run = {"id": "u", "run_type": "llm", "start_time": "2026-11-20T12:00:00Z", "trace_id": "t",
           "inputs": {"messages": [ASKED]}, "outputs": {"generations": [[{"message": said}]]}}  # fmt: skip
    return {**run, "run_type": "chain", "child_runs": [run]}


def phoenix() -> dict[str, Any]:
    return {
        "context": {"trace_id": "t", "span_id": "s"}, "span_kind": "LLM",
        "start_time": "2026-11-20T12:00:00Z",
        "attributes": {"llm.input_messages.0.message.role": "user",
                       "llm.output_messages.0.message.role": "ai",
                       "llm.input_messages.0.message.content": "Where?",
                       "llm.output_messages.0.message.contents.0.message_content.text": "In Ulm.",
                       "llm.invocation_parameters": '{"model": "x"}', "llm.token_count.prompt": 3},
    }  # fmt: skip


SAMPLES: dict[str, Callable[[], Any]] = {
    "native": native,
    "openai_chat": openai,
    "chunks": lambda: pair(CHUNKS),
    "event stream": lambda: pair(sse(CHUNKS)),
    "bodies": lambda: {"request": {"body": json.dumps(openai()["request"])},
                       "response": {"status": 200, "body": json.dumps(openai()["response"])}},
    "anthropic": lambda: pair(MESSAGE, system="Be brief."),
    "anthropic stream": lambda: pair(EVENTS),
    "anthropic event stream": lambda: pair(sse(EVENTS)),
    "openai_responses": lambda: {"request": {"input": [*ASKED, *ITEMS], "instructions": "x"},
                                 "response": RESPONSE},
    "responses stream": lambda: {"request": {"input": "Where?"},
                                 "response": [{"type": "response.completed", "response": RESPONSE}]},
    "litellm": litellm,
    "langfuse": langfuse,
    "langsmith": langsmith,
    "phoenix": phoenix,
}  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 7, 1e308, 10**30, "", " ", "x", "{", "[]", '{"a": 1}', "data: {}\n\n",
    "data: x", "\ud800", "\0", "x" * 600, [], {}, [[]], [None], [[[{}]]], {"role": "user"}, {"content": []},
    {"type": 5}, {"a.b": 1, "a": 2}, {"index": -1}, [{"type": "tool_use"}], {"messages": {}},
    {"function": []}, ["x", 5],
    {"lc": 1, "kwargs": [], "id": []}, {"choices": 5}, {"generations": [5]}, {"body": {"body": "{"}},
    {"text": {"text": []}}, {"object": "response"}, {"type": "message", "role": "assistant", "content": 5},
)  # fmt: skip
"""What is put in the place of something else, beside what Hypothesis makes up."""

values = st.recursive(
    st.sampled_from(ODD) | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def mutated(rng: random.Random, value: Any) -> bytes:
    """One sample with up to three of its places replaced, removed, doubled or moved, or its bytes damaged."""
    event: Any = json.loads(json.dumps(SAMPLES[rng.choice(list(SAMPLES))]()))
    for at in range(rng.randrange(1, 4)):
        _change(rng, event, value if at == 0 else rng.choice(ODD))
    raw = json.dumps(event).encode()
    if rng.random() < 0.15:
        place = rng.randrange(len(raw))
        raw = (
            raw[:place]
            + rng.choice([b"", b"\\u0000", b"NaN", b"[[", b'"', b"\n", b"\xff"])
            + raw[place + 1 :]
        )
    return raw


def _change(rng: random.Random, event: Any, value: Any) -> None:
    node, key = event, rng.choice(list(event))
    while isinstance(node[key], dict | list) and node[key] and rng.random() < 0.75:
        node = node[key]
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
    match rng.randrange(5):
        case 0:
            del node[key]
            if not event:
                event["x"] = value
        case 1 if isinstance(node, list):
            node.insert(key, copy.deepcopy(node[key]))
        case 2 if isinstance(node, dict):
            node[rng.choice(list(node))] = copy.deepcopy(node[key])
        case 3:
            node[key] = json.dumps(node[key])
        case _:
            node[key] = copy.deepcopy(value)
