"""A trace as JSON, written once for what is made of it: its digest, its stored payload, its stored answer.

The content that the digest is of has sorted keys, as `canonical` writes them. The payload keeps the order of
the keys within a value: a tool's arguments are learnt as they were written.

Nearly all of a trace is text, which pydantic's encoder writes as `canonical` does, several times faster. The
two differ in some numbers; what holds one of those is written by `canonical`'s own encoder.
"""

import json
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

if TYPE_CHECKING:
    from policies.records import Message, Trace

LEFT_OUT = frozenset({"source", "ts", "usage"})
"""Fields that are no part of the content: the time may be the transport's, and a repeated delivery of the
same content is a duplicate, whenever it comes.
"""
YOUNGER = frozenset({"truncated", "unshown", "incomplete", "agent_version"})
"""Fields that are younger than stores which hold digests: where they say nothing, the content is what it was
without them. So it is with a message's `reasoning`.
"""
ALIKE = 1e-4, 1e16
"""Between these both encoders write a number without an exponent, and alike."""
_WIDE = 1 << 63
_STYLE: dict[str, Any] = {"separators": (",", ":"), "ensure_ascii": False, "allow_nan": False}


class Encoded(NamedTuple):
    """JSON in UTF-8: the canonical content, and the values of `Trace.model_dump(mode="json")` and of its
    `output`.
    """

    content: bytes
    payload: bytes
    output: bytes


class _UnlikeError(Exception):
    """Holds what the encoders write each in its own way."""


def encoded(trace: "Trace") -> Encoded:
    """Raises ValueError for what has no JSON (a lone surrogate)."""
    try:
        return _quickly(trace)
    except (_UnlikeError, PydanticSerializationError):
        return in_full(trace)


def in_full(trace: "Trace") -> Encoded:
    """The same by definition: of every value, and slowly."""
    payload = trace.model_dump(mode="json")
    content = {
        name: value
        for name, value in payload.items()
        if name not in LEFT_OUT and (value or name not in YOUNGER)
    }
    for name in ("messages", "output"):
        content[name] = [_unthought(message) for message in payload[name]]
    return Encoded(
        json.dumps(content, sort_keys=True, **_STYLE).encode(),
        json.dumps(payload, **_STYLE).encode(),
        json.dumps(payload["output"], **_STYLE).encode(),
    )


def _unthought(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if value or name != "reasoning"}


def _quickly(trace: "Trace") -> Encoded:
    before, between, after = _names(type(trace))
    payload: dict[str, Any] = {}
    content: list[bytes] = []
    for names in (before, between, after):
        part: dict[str, Any] = {}
        for name in names:
            value = getattr(trace, name)
            if value is None or isinstance(value, str | bool):
                payload[name] = in_order = value
            else:
                payload[name] = to_jsonable_python(value) if _of_models(value) else value
                in_order = sorted_copy(payload[name])
            if name not in LEFT_OUT and (value or name not in YOUNGER):
                part[name] = in_order
        content.append(to_json(part)[1:-1])
    asked, asked_whole = _turns(trace.messages)
    answer, answer_whole = _turns(trace.output)
    return Encoded(
        b'{%b,"messages":%b,%b,"output":%b,%b}' % (content[0], asked, content[1], answer, content[2]),
        b'{"messages":%b,"output":%b,%b' % (asked_whole, answer_whole, to_json(payload)[1:]),
        answer_whole,
    )


@cache
def _names(kind: type["Trace"]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The other fields, in order: before the messages, between them and the output, and after it."""
    names = sorted(kind.model_fields.keys() - {"messages", "output"})
    before = tuple(name for name in names if name < "messages")
    between = tuple(name for name in names if "messages" < name < "output")
    after = tuple(name for name in names if name > "output")
    return before, between, after


def _of_models(value: Any) -> bool:
    return isinstance(value, BaseModel) or (
        isinstance(value, tuple) and bool(value) and isinstance(value[0], BaseModel)
    )


def _turns(messages: "tuple[Message, ...]") -> tuple[bytes, bytes]:
    """A conversation for the content, and for the payload."""
    content, payload = [], []
    for message in messages:
        own: dict[str, Any] = {"content": message.content, "name": message.name}
        if message.reasoning:
            own["reasoning"] = message.reasoning
        own["role"] = message.role
        own["tool_call_id"] = message.tool_call_id
        own["tool_calls"] = calls = [
            {"arguments": call.arguments, "id": call.id, "name": call.name} for call in message.tool_calls
        ]
        whole = own
        if calls:
            own = {**own, "tool_calls": sorted_copy(calls)}
        content.append(written := to_json(own))
        payload.append(
            (written if whole is own else to_json(whole))
            if message.reasoning
            else b'{"reasoning":"",' + (written if whole is own else to_json(whole))[1:]
        )
    return b"[%b]" % b",".join(content), b"[%b]" % b",".join(payload)


def sorted_copy(value: Any) -> Any:
    """JSON's value with its keys in order. Raises _UnlikeError where the encoders write it unlike."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is dict:
        if any(type(key) is not str for key in value):
            raise _UnlikeError
        return {key: sorted_copy(value[key]) for key in sorted(value)}
    if kind is list or kind is tuple:
        return [sorted_copy(item) for item in value]
    if kind is int and -_WIDE <= value < _WIDE:
        return value
    if kind is float and (value == 0 or ALIKE[0] <= abs(value) < ALIKE[1]):
        return value
    raise _UnlikeError
