"""Payloads of the formats of many pieces, by how many pieces they are to have."""

import json
from collections.abc import Callable
from typing import Any

from tests.connectors.decoders.mutations import (
    ASKED,
    EVENTS,
    MESSAGE,
    RESPONSE,
    langfuse,
    langsmith,
    litellm,
    pair,
    phoenix,
    sse,
)


def chunk(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def _calls(size: int) -> list[Any]:
    """Pieces of calls without an index, each with another id."""
    return [
        chunk(tool_calls=[{"id": str(n), "function": {"name": "t", "arguments": "{}"}}]) for n in range(size)
    ]


def _anthropic(deltas: list[Any]) -> list[Any]:
    told = [{"type": "content_block_delta", "index": at, "delta": each} for at, each in deltas]
    return [EVENTS[0], *told, EVENTS[-1]]


def _attributes(size: int) -> dict[str, Any]:
    names = (f"llm.input_messages.{n}.message" for n in range(size))
    keys = [(f"{name}.role", "user") for name in names] + [
        (f"llm.input_messages.{n}.message.content", "x") for n in range(size)
    ]
    event = phoenix()
    return {**event, "attributes": {**event["attributes"], **dict(keys)}}


SHAPES: dict[str, Callable[[int], Any]] = {
    "chunks": lambda size: pair([*[chunk(content="word ")] * size, END]),
    "event stream": lambda size: pair(sse([*[chunk(content="word ")] * size, END])),
    "lines of an event stream": lambda size: pair("data: [1,\n" * size),
    "texts of a stream": lambda size: pair([json.dumps(chunk(content="x"))] * size),
    "calls in chunks": lambda size: pair([*_calls(size), END]),
    "choices in chunks": lambda size: pair([{"choices": [{"index": n, "delta": {}}]} for n in range(size)]),
    "parts in chunks": lambda size: pair(
        [*[chunk(content=[{"type": "text", "text": "x"}, {"type": "image"}])] * size, END]
    ),
    "json text": lambda size: {"request": json.dumps({"messages": ASKED * size}), "response": "{}"},
    "json text in json text": lambda size: {"body": json.dumps(pair(json.dumps({"choices": [{}] * size})))},
    "messages of anthropic": lambda size: pair(MESSAGE, messages=[
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "x"}]}] * size),
    "blocks of anthropic": lambda size: pair({**MESSAGE, "content": [
        {"type": "text", "text": "x"}, {"type": "image"}] * size}),
    "stream of anthropic": lambda size: pair(
        _anthropic([(0, {"type": "text_delta", "text": "x"}) for _ in range(size)])
    ),
    "blocks in a stream of anthropic": lambda size: pair(
        _anthropic([(n, {"type": "input_json_delta", "partial_json": "{"}) for n in range(size)])
    ),
    "items": lambda size: {"request": {"input": [
        {"type": "function_call", "call_id": str(n), "name": "t", "arguments": "{}"} for n in range(size)]},
        "response": RESPONSE},
    "items of an answer": lambda size: {"request": {"input": "x"}, "response": {
        **RESPONSE, "output": [{"type": "web_search_call"}, {"type": "reasoning", "summary": "x"}] * size}},
    "stream of responses": lambda size: {"request": {"input": "x"}, "response": [
        *[{"type": "response.output_item.done", "item": {"type": "message", "content": "x"}}] * size,
        {"type": "response.completed", "response": {**RESPONSE, "output": []}}]},
    "messages of litellm": lambda size: {**litellm(), "messages": ASKED * size},
    "cuts of litellm": lambda size: {**litellm(), "messages": "(litellm_truncated " * size},
    "observations": lambda size: {"data": langfuse()["data"] * (size // 8)},
    "runs": lambda size: {**langsmith(), "child_runs": [langsmith()] * (size // 8)},
    "generations": lambda size: {**langsmith(), "run_type": "llm", "outputs": {
        "generations": [[{"text": "x"}]] * size}},
    "dotted keys": _attributes,
    "numbers of dotted keys": lambda size: {**phoenix(), "attributes": {
        f"llm.{n}": n for n in range(size)}},
    "dots": lambda size: {**phoenix(), "attributes": {"a." * size + "b": 1}},
}  # fmt: skip
