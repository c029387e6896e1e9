"""What strangers write costs in proportion to its size, whatever they write, to read and to refuse."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from connectors.decoders.detect import Decoders
from tests.connectors.decoders.events import native, openai
from tests.connectors.decoders.growing import SHAPES as OF_FORMATS
from tests.growth import LINEAR, growth


def answer(content: Any, **message: Any) -> Any:
    return openai(choices=[{"message": {"role": "assistant", "content": content, **message}}])


def calls(size: int, **fields: Any) -> list[Any]:
    return [
        {"id": f"call_{n}", "function": {"name": "track", "arguments": "{}"}, **fields} for n in range(size)
    ]


TURNS = [{"role": "user", "parts": [{"type": "text", "content": "Where?"}]}]

SHAPES: dict[str, Callable[[int], Any]] = {
    "a long answer": lambda size: answer("word " * size),
    "tags": lambda size: answer("<think></think>" * size),
    "open tags": lambda size: answer("<think>" * size),
    "quoted tags": lambda size: answer("'</think>'" * size),
    "fences": lambda size: answer("```</think>" * size),
    "channels": lambda size: answer("<|channel|>analysis<|message|>x<|end|>" * size),
    "channels without tokens": lambda size: answer("analysisA" + "assistantfinal" * size),
    "recipients": lambda size: answer("<|channel|>" + "to=" * size),
    "space": lambda size: answer(" \n" * size + "x"),
    "combining marks": lambda size: answer("\u0301\u0323" * size),
    "parts": lambda size: answer([{"type": "text", "text": "x"}, {"type": "image_url"}] * size),
    "nested thoughts": lambda size: answer("x", reasoning_details=[{"text": "x"}] * size),
    "images": lambda size: answer("x", images=[{"type": "image_url"}] * size),
    "calls": lambda size: answer(None, tool_calls=calls(size)),
    "calls without ids": lambda size: answer(None, tool_calls=calls(size, id=None)),
    "choices": lambda size: openai(choices=[{"message": {"content": f"a{n}"}} for n in range(size)]),
    "choices of many turns": lambda size: {
        "request": {"messages": [{"role": "user", "content": "x" * 50}] * size},
        "response": {"choices": [{"message": {"content": "x"}}] * size},
    },
    "broken choices": lambda size: openai(choices=[{"message": 5}] * size),
    "turns": lambda size: native(messages=[{"role": "user", "content": f"line {n}"} for n in range(size)]),
    "results without ids": lambda size: native(
        messages=[
            {"role": "user", "content": "7?"},
            {"role": "assistant", "tool_calls": calls(size, id=None)},
            *[{"role": "tool", "content": "x", "name": "track"}] * size,
        ]
    ),
    "tags of the request": lambda size: {
        **openai(), "request": {**openai()["request"], "metadata": {f"k{n}": [n] for n in range(size)}},
    },
    "an event a line": lambda size: "\n".join(json.dumps(native(n)) for n in range(size // 8)),
    "broken lines": lambda size: json.dumps(native()) + "\n{" * size,
    "broken lines first": lambda size: "{\n" * size + json.dumps(native()),
    "lines of nothing": lambda size: "x" + "\n" * size + "{",
    "numbers": lambda size: [1] * size,
    "empty objects": lambda size: [{}] * size,
    "spans": lambda size: {"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": {}}] * size}]}]},
    "a call's history": lambda size: {
        "attributes": {"gen_ai.input.messages": json.dumps(TURNS * size), "gen_ai.output.messages": "[]"},
    },
    "a history that breaks off": lambda size: {
        "attributes": {
            "gen_ai.input.messages": json.dumps(TURNS * size)[:-9], "gen_ai.output.messages": "[]",
        },
    },
    "a history of open brackets": lambda size: {
        "attributes": {"gen_ai.input.messages": "[" + "{" * size, "gen_ai.output.messages": "[" * size},
    },
    "a key for each field": lambda size: {
        "attributes": {
            **{f"llm.input_messages.{at}.message.content": "x" for at in range(size)},
            **{f"llm.output_messages.{at}.message.content": "x" for at in range(size)},
        },
    },
    "long keys": lambda size: {
        "attributes": {"llm.input_messages.0" + ".a" * size: "x", "gen_ai.prompt." + "9" * size: "x"},
    },
    "spans within spans": lambda size: {
        "resourceSpans": [{"scopeSpans": [{"spans": [
            {"traceId": "a", "spanId": f"s{at}", "parentSpanId": f"s{at + 1}",
             "attributes": {"session.id": "x"}} for at in range(size)]}]}],
    },
    "log records of one call": lambda size: {
        "resourceLogs": [{"scopeLogs": [{"logRecords": [
            {"traceId": "a", "spanId": "b", "eventName": "gen_ai.user.message",
             "body": {"stringValue": "x"}} for _ in range(size)]}]}],
    },
    "signs of a logger": lambda size: {
        "attributes": {
            "gen_ai.input.messages": [{"role": "user", "content": "(truncated <truncated " * size}],
            "gen_ai.output.messages": [{"role": "assistant", "content": "[truncated " * size}],
        },
    },
    "many keys": lambda size: {f"k{n}": n for n in range(size)},
    "a stream": lambda size: {
        "request": openai()["request"], "response": "data: {}\n\n" * size,
    },
    "chunks": lambda size: {
        "request": openai()["request"], "response": [{"choices": [{"delta": {"content": "x"}}]}] * size,
    },
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_decoding_costs_in_proportion(shape: str) -> None:
    """Whatever comes of it: a trace, a dead letter, many of them, or something to skip."""
    assert _growth(SHAPES[shape], 400) < LINEAR


@pytest.mark.parametrize("shape", OF_FORMATS)
def test_every_format_costs_in_proportion(shape: str) -> None:
    """Streams, bodies, items, blocks, mappings. At 1 MB and tightly: tests/soak/mutated_payloads.py."""
    assert _growth(OF_FORMATS[shape], 120) < LINEAR


def _growth(shape: Callable[[int], Any], size: int) -> float:
    raw: dict[int, bytes] = {}
    for each in (size, 8 * size):
        made = shape(each)
        raw[each] = (made if isinstance(made, str) else json.dumps(made)).encode()
    decoders = Decoders()
    return growth(lambda each: decoders.decode(raw[each], source="s", timestamp=1.0), size)


def test_deep_nesting_costs_in_proportion() -> None:
    """It is refused at its depth, however deep it is."""

    def read(size: int) -> None:
        Decoders().decode(b"[" * size, source="s", timestamp=1.0)

    assert growth(read, 20_000) < LINEAR
