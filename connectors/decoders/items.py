"""Items of OpenAI's responses API, in the order in which they came, made into turns.

A call and its result are items there, tied by `call_id` (not by `id`). What the assistant thought, said and
called in a row is one turn here. An item that is neither (a search that the provider ran, an image that it
made) is a part by its type: it cannot be shown as text.
"""

from collections.abc import Mapping
from typing import Any

from connectors.errors import DecodeError

_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Items that call a tool of the agent's, with the key of what they give it."""
_OTHER_CALLS = ("_call", "_approval_request")
"""How the types of items end that call what the agent or the provider runs in another way."""
_RESULTS = ("_output", "_approval_response")
_ELSEWHERE = frozenset({"item_reference", "compaction", "compaction_summary"})
"""Items that stand for others which the log does not have."""


def instructed(instructions: Any) -> list[Any]:
    """The turns that a request's instructions are: text, or items where they come from a stored prompt."""
    if isinstance(instructions, list):
        return turns(instructions, "request.instructions")
    return [{"role": "system", "content": instructions}] if instructions else []


def turns(raw: Any, where: str) -> list[Any]:
    """Turns in OpenAI's chat shapes. Raises DecodeError naming the place."""
    if isinstance(raw, str):
        return [{"role": "user", "content": raw}]
    if not isinstance(raw, list):
        raise DecodeError(f"`{where}` must be text or a list of items")
    told: list[Any] = []
    for at, item in enumerate(raw):
        if not isinstance(item, Mapping):
            raise DecodeError(f"`{where}[{at}]` must be an object")
        _add(told, item)
    return [turn.message() if isinstance(turn, _Turn) else turn for turn in told]


def answer(raw: Any, where: str) -> dict[str, Any] | None:
    """All that the assistant put out, as one message; None where it put out nothing."""
    if raw in (None, []):
        return None
    if not isinstance(raw, list):
        raise DecodeError(f"`{where}` must be a list of items")
    turn = _Turn()
    for at, item in enumerate(raw):
        if not isinstance(item, Mapping):
            raise DecodeError(f"`{where}[{at}]` must be an object")
        turn.add(item)
    return turn.message()


def refers_elsewhere(raw: Any) -> bool:
    """Whether some item stands for what the log does not have."""
    if not isinstance(raw, list):
        return False
    return any(_kind(item) in _ELSEWHERE for item in raw)


class _Turn:
    """What the assistant thought, said and called in a row."""

    def __init__(self) -> None:
        self._parts: list[Any] = []
        self._calls: list[dict[str, Any]] = []

    @property
    def called(self) -> bool:
        return bool(self._calls)

    def add(self, item: Mapping[str, Any]) -> None:
        kind = _kind(item)
        if kind in _CALLS:
            called = {"name": item.get("name"), "arguments": item.get(_CALLS[kind])}
            self._calls.append({"id": item.get("call_id") or item.get("id"), "function": called})
        elif kind == "reasoning":
            self._parts.append({"type": "reasoning", "text": item.get("content") or item.get("summary")})
        elif kind == "message":
            content = item.get("content")
            self._parts += content if isinstance(content, list) else [] if content is None else [content]
        else:
            self._parts.append({"type": kind})

    def message(self) -> dict[str, Any]:
        return {"role": "assistant", "content": self._parts, "tool_calls": self._calls}


def _add(told: list[Any], item: Mapping[str, Any]) -> None:
    """Adds one item to the turns so far."""
    kind = _kind(item)
    if kind.endswith(_RESULTS):
        output = item.get("output")
        content = output if isinstance(output, str | list) or output is None else [{"type": kind}]
        told.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": content})
        return
    own = kind in _CALLS or kind == "reasoning" or kind.endswith(_OTHER_CALLS)
    if not own and (kind != "message" or item.get("role") != "assistant"):
        told.append(item if kind == "message" else {"role": "user", "content": [{"type": kind}]})
        return
    last = told[-1] if told and isinstance(told[-1], _Turn) else None
    if last is None or (last.called and kind == "message"):
        last = _Turn()
        told.append(last)
    last.add(item)


def _kind(item: Any) -> str:
    """An item's type; a message may leave it out."""
    kind = item.get("type") if isinstance(item, Mapping) else None
    return kind if isinstance(kind, str) and kind else "message"
