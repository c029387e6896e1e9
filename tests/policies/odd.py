"""Records that are odd where identity is computed: escapes, numbers, marks, thoughts, calls."""

import json
from typing import Any


def _record(question: str, answer: str = "Yes.", **more: Any) -> bytes:
    event = {
        "messages": [{"role": "user", "content": question}],
        "output": [{"role": "assistant", "content": answer}],
    }
    return json.dumps(event | more).encode()


def _called(arguments: Any, **more: Any) -> bytes:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": arguments}}
    event = {
        "messages": [
            {"role": "system", "content": "Be brief.\tNow."},
            {"role": "user", "content": "Where is it?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": '{"eta": 1e+16}'},
        ],
        "output": [{"role": "assistant", "content": "Here."}],
    }
    return json.dumps(event | more).encode()


ODD: dict[str, bytes] = {
    "plain": _record("What time is it?", id="e1", ts=5.5),
    "no id": _record("What time is it?"),
    "capitals and punctuation": _record("  WHAT -- time_is IT?!  \r\n\v\f\x1c\x1d\x1e\x1f\x7f 100% "),
    "nothing but punctuation": _record(" ?! -- "),
    "spaces alone": _record("   "),
    "empty": _record(""),
    "control characters": _record(
        'a\b\f\n\r\t\x01\x0b\x1f"\\/\x7f\x80\x85\u2028\u2029z', "\x1b[0m \x7f \\u0041"
    ),
    "sharp s, ligature, dotted i": _record(
        "Stra\u00dfe \ufb01n \u0130stanbul \u0131 \u017f \u1e9e \u00aa \u00b5 \u212a"
    ),
    "wide forms": _record("\uff37\uff28\uff21\uff34\u3000\uff11\u00b2\u2167 \u20a8 \ufdfa"),
    "astral": _record("\U0001f600 \U0001d4d0bc \U00010400 \U000e0041", "\U0001f469\u200d\U0001f467"),
    "marks in a run": _record("a" + "\u0301\u0323" * 40 + "b", "e\u0301 \u00e9"),
    "other scripts": _record(
        "\u4f60\u597d\uff0c\u4e16\u754c \u0645\u0631\u062d\u0628\u0627_\u0661 \u0e01\u0e33 \u1112\u1161\u11ab"
    ),
    "non-characters": _record("\ufdd0 \uffff \ufeff \u00ad \u200b"),
    "long": _record("Ab. " * 200_000),
    "numbers in arguments": _called(
        {
            "z": 1e16,
            "a": 1e-5,
            "b": 0.0001,
            "c": -0.0,
            "d": 1.0,
            "e": 10**30,
            "f": 1e22,
            "g": 123456789012345680.0,
            "h": 5e-324,
            "i": 1.7976931348623157e308,
            "j": 0.1,
            "k": -7,
            "l": 1e15,
            "m": 9999999999999998.0,
        }
    ),
    "keys in arguments": _called(
        json.dumps(
            {
                "\u00e9": 1,
                "e\u0301": 2,
                "Z": [],
                "": {},
                '"reasoning': "",
                "reasoning": "",
                "\uffff": 1,
                "\U00010000": 2,
                "a\nb": [True, False, None, [[{}]]],
            }
        )
    ),
    "arguments that are no object": _called("[1, 2"),
    "arguments in one sentence": _called("  "),
    "tools": _called(
        {},
        tools=[
            {"name": "look", "parameters": {"type": "object", "minimum": 0.50, "maximum": 1e300}},
            {"type": "web_search", "z": 1, "a": {"b": 2e-7}},
        ],
        agent_version="v1",
        truncated=True,
    ),
    "feedback": _record(
        "Was it good?",
        feedback=[{"name": "thumb", "score": 1}, {"name": "x", "score": 1e-7, "comment": '\u00fc"'}],
        tags={"b": "2", "a": "1"},
        source="web",
        reference="r",
        session="s",
        subject="u",
        model="m",
        adapter="a",
    ),
    "a thought": _record("Think.", '<think>\nhm "x"\n</think>\n\nSo.'),
    "parts": json.dumps(
        {
            "id": 7,
            "ts": "2026-01-02T03:04:05+02:00",
            "messages": [
                {"role": "developer", "content": [{"type": "text", "text": "A"}]},
                {"role": "human", "name": "n", "content": [{"type": "image_url"}, "b", {"text": "c"}]},
            ],
            "output": [
                {
                    "role": "model",
                    "content": [{"type": "thinking", "thinking": "t"}, {"type": "audio"}, {"text": "d"}],
                }
            ],
        }
    ).encode(),
    "system alone": json.dumps(
        {
            "messages": [{"role": "system", "content": "Only THIS_one."}],
            "output": [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"name": "f", "arguments": {"y": 1, "x": [0.5]}}],
                },
                {"role": "tool", "content": "ok"},
                {"role": "assistant", "refusal": "No."},
            ],
        }
    ).encode(),
    "large integers as ids": _record("q", id=123456789012345678901234567890, ts=99_999_999_999),
}
"""By name. Each is one event of rlaifd's own JSON."""
