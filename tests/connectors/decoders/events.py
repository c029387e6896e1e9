"""Events as agents log them, whole and damaged, for the tests."""

import json
import random
from typing import Any


def native(number: int = 0, **other: Any) -> dict[str, Any]:
    return {
        "id": f"e-{number}",
        "ts": 1_700_000_000.0 + number,
        "messages": [{"role": "user", "content": f"How do I reset the password of account {number}?"}],
        "output": [{"role": "assistant", "content": f"Open settings, then security ({number})."}],
        **other,
    }


def openai(number: int = 0, **response: Any) -> dict[str, Any]:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "lookup", "arguments": f'{{"account": {number}}}'},
    }
    return {
        "request": {
            "model": "gpt-x",
            "user": "u-7",
            "metadata": {"tenant": "acme"},
            "tools": [{"type": "function", "function": {"name": "lookup"}}],
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Who am I?"}, {"type": "image_url"}]},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": "Ada"},
            ],
        },
        "response": {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1_700_000_000 + number,
            "model": "gpt-x-2026-01-01",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": "You are Ada."},
                }
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 4},
            **response,
        },
    }


def mutated(rng: random.Random, value: Any) -> bytes:
    """An event with one of its places replaced by another value, or its bytes damaged."""
    event = rng.choice([native, openai])(rng.randrange(100))
    if rng.random() < 0.5:
        node: Any = event
        while True:
            key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
            if rng.random() < 0.4 or not (isinstance(node[key], dict | list) and node[key]):
                node[key] = value
                break
            node = node[key]
        return json.dumps(event).encode()
    raw = bytearray(json.dumps(event).encode())
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(raw))
        match rng.randrange(3):
            case 0:
                raw[place] = rng.randrange(256)
            case 1:
                del raw[place:]
                raw += b"x"
            case _:
                raw[place:place] = rng.choice([b"\\u0000", b"\\ud800", b"NaN", b"[[", b'"', b"\n", b"\xff"])
    return bytes(raw)
