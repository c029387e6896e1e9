"""Conversations as frameworks keep them, in the shapes of OpenAI's chat interface.

Understood beside those: LangChain's messages (`{"type": "human", …}`, serialised with `lc` and `kwargs`, or
with `data`), a batch of one conversation, a request that holds its `messages`, OpenInference's wrapped
messages, calls as `{name, args}`, Anthropic's blocks, a bare text, and any of it as JSON text.
"""

from collections.abc import Mapping
from typing import Any

from connectors.decoders import anthropic, items
from connectors.decoders.mapping.paths import opened

_TYPES = {
    "human": "user", "HumanMessage": "user", "HumanMessageChunk": "user", "user": "user",
    "ai": "assistant", "AIMessage": "assistant", "AIMessageChunk": "assistant", "assistant": "assistant",
    "system": "system", "SystemMessage": "system", "SystemMessageChunk": "system", "developer": "system",
    "tool": "tool", "ToolMessage": "tool", "ToolMessageChunk": "tool", "function": "tool",
}  # fmt: skip
_HOLDERS = ("messages", "input", "prompt", "question", "query", "content")
_ANSWERS = ("message", "messages", "output", "answer", "response", "content", "text", "result", "completion")
_BLOCKS = frozenset({"tool_use", "tool_result"})
_ITEMS = frozenset({"function_call", "function_call_output", "reasoning", "item_reference"})
DEEPEST = 8
"""Objects that may be around a conversation."""


def turns(raw: Any, system: Any = None) -> Any:
    """A conversation; what is none is left to whoever reads it to refuse."""
    found = _turns(opened(raw), 0)
    told = opened(system)
    if isinstance(told, str | list) and told and isinstance(found, list):
        return [{"role": "system", "content": told}, *found]
    return found


def tools(raw: Any) -> Any:
    """Definitions of tools, each out of what is around it."""
    found = opened(raw)
    if not isinstance(found, list):
        return found
    return [_tool(each) for each in found]


def answers(raw: Any) -> list[Any]:
    """The choices in an output."""
    return _answers(opened(raw), 0)


def _turns(raw: Any, depth: int) -> Any:
    if isinstance(raw, str):
        return [{"role": "user", "content": raw}]
    if isinstance(raw, Mapping):
        return _held(raw, depth)
    return _all(raw, depth) if isinstance(raw, list) else raw


def _held(raw: Mapping[str, Any], depth: int) -> Any:
    """The conversation that an object is, or is around."""
    message = _message(raw)
    if "role" in message:
        return [message]
    held = next((raw[key] for key in _HOLDERS if raw.get(key)), None)
    return raw if held is None or depth >= DEEPEST else _turns(opened(held), depth + 1)


def _all(raw: list[Any], depth: int) -> Any:
    """The conversation in a list: of messages, of items, or of one conversation."""
    if len(raw) == 1 and isinstance(raw[0], list):
        return raw if depth >= DEEPEST else _turns(raw[0], depth + 1)
    if any(_kind(each) in _ITEMS for each in raw):
        return items.turns(raw, "messages")
    told: list[Any] = []
    for each in raw:
        told.extend(_with_results(_message(opened(each))))
    return told


def _answers(raw: Any, depth: int) -> list[Any]:
    if raw in (None, "", [], {}):
        return [{"message": None}]
    if isinstance(raw, str):
        return [{"message": {"role": "assistant", "content": raw}}]
    if isinstance(raw, Mapping):
        return _object(raw, depth)
    return _listed(raw, depth) if isinstance(raw, list) else [{"message": raw}]


def _object(raw: Mapping[str, Any], depth: int) -> list[Any]:
    """The choices in an object: a completion, generations, a message, or what is around one of these."""
    if raw.get("object") == "response":
        return [{"finish_reason": raw.get("status"), "message": items.answer(raw.get("output"), "output")}]
    if isinstance(raw.get("choices"), list):
        return list(raw["choices"])
    generations = raw.get("generations")
    if isinstance(generations, list):
        flat = [each for some in generations for each in (some if isinstance(some, list) else [some])]
        return [_generation(each) for each in flat]
    message = _message(raw)
    if "role" in message:
        ended = raw.get("stop_reason") or _metadata(message).get("finish_reason")
        return [{"finish_reason": ended, "message": _blocks(message)}]
    held = next((raw[key] for key in _ANSWERS if raw.get(key)), None)
    if held is None or depth >= DEEPEST:
        return [{"message": {"role": "assistant", **raw}}]
    return _answers(opened(held), depth + 1)


def _listed(raw: list[Any], depth: int) -> list[Any]:
    """A list of an answer's messages, of its parts, or one of answers."""
    if len(raw) == 1:
        return _answers(opened(raw[0]), depth + 1) if depth < DEEPEST else [{"message": raw[0]}]
    told = [_message(opened(each)) for each in raw]
    if all(isinstance(each, Mapping) and "role" in each for each in told):
        return [{"messages": [_blocks(each) for each in told]}]
    return [{"message": _blocks({"role": "assistant", "content": raw})}]


def _generation(raw: Any) -> Any:
    """One of LangChain's generations."""
    if not isinstance(raw, Mapping):
        return {"message": raw}
    inside = raw.get("message")
    message = _message(inside) if isinstance(inside, Mapping) else {"content": raw.get("text")}
    told = raw.get("generation_info")
    info = told if isinstance(told, Mapping) else _metadata(message)
    return {
        "finish_reason": info.get("finish_reason") or info.get("stop_reason"),
        "message": _blocks({**message, "role": "assistant"}),
    }


def _metadata(message: Mapping[str, Any]) -> Mapping[str, Any]:
    found = message.get("response_metadata")
    return found if isinstance(found, Mapping) else {}


def _message(raw: Any) -> Any:
    """A message out of what is around it, with its role where that is known; what is none as it is."""
    if not isinstance(raw, Mapping):
        return raw
    kind, inside = raw.get("type"), raw
    if isinstance(raw.get("message"), Mapping) and "role" not in raw:
        inside = raw["message"]
        kind = inside.get("type")
    elif "lc" in raw and isinstance(raw.get("kwargs"), Mapping):
        inside, name = raw["kwargs"], raw.get("id")
        kind = name[-1] if isinstance(name, list) and name else inside.get("type")
    elif isinstance(raw.get("data"), Mapping) and isinstance(kind, str) and kind in _TYPES:
        inside = raw["data"]
    found = dict(inside)
    if not isinstance(found.get("role"), str) and isinstance(kind, str) and kind in _TYPES:
        found["role"] = _TYPES[kind]
    if "content" not in found and isinstance(found.get("contents"), list):
        found["content"] = [_content(each) for each in found["contents"]]
    calls = found.get("tool_calls")
    extra = found.get("additional_kwargs")
    if not calls and isinstance(extra, Mapping):
        calls = extra.get("tool_calls")
    if isinstance(calls, list) and calls:
        found["tool_calls"] = [_call(each) for each in calls]
        if isinstance(found.get("content"), list):  # LangChain keeps Anthropic's blocks of the same calls
            found["content"] = [each for each in found["content"] if _kind(each) not in _BLOCKS]
    return found


def _content(raw: Any) -> Any:
    inside = raw.get("message_content") if isinstance(raw, Mapping) else None
    return raw if inside is None else inside


def _call(raw: Any) -> Any:
    """A call as `{id, function}`."""
    inside = raw.get("tool_call") if isinstance(raw, Mapping) else None
    call = inside if isinstance(inside, Mapping) else raw
    if isinstance(call, Mapping) and "function" not in call and "args" in call:
        return {"id": call.get("id"), "function": {"name": call.get("name"), "arguments": call["args"]}}
    return call


def _tool(raw: Any) -> Any:
    if not isinstance(raw, Mapping):
        return opened(raw)
    inside = raw.get("tool", raw)
    schema = inside.get("json_schema") if isinstance(inside, Mapping) else None
    return inside if schema is None else opened(schema)


def _with_results(message: Any) -> list[Any]:
    """A message, and the results among its blocks as turns of their own."""
    if not isinstance(message, Mapping) or not _has_blocks(message):
        return [message]
    return list(anthropic.turns_of(message))


def _blocks(message: Any) -> Any:
    """An answer's message with its blocks in their places."""
    if not isinstance(message, Mapping) or not _has_blocks(message):
        return message
    return next(iter(anthropic.turns_of(message)))


def _has_blocks(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(_kind(each) in _BLOCKS for each in content)


def _kind(raw: Any) -> Any:
    kind = raw.get("type") if isinstance(raw, Mapping) else None
    return kind if isinstance(kind, str) else None
