"""Events as agents log them, for the tests."""

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
