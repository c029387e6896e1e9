"""Chat messages as logs spell them, made into ours.

Understood beside our own spelling: OpenAI's tool calls (arguments as a JSON string), content as a list of
parts, `developer` for `system`, the older `function` role, a refusal in place of content.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from connectors.decoders import strict
from connectors.errors import DecodeError
from policies.records import Message, ToolCall

UNPARSED = "_unparsed"
"""Key of tool arguments that are not a JSON object: the agent's own mistake, kept for the judges to see."""

_ROLES = {"developer": "system", "function": "tool"}


def messages_of(raw: Any, where: str) -> tuple[Message, ...]:
    """A non-empty list of messages. Raises DecodeError naming the place."""
    if not isinstance(raw, list) or not raw:
        raise DecodeError(f"`{where}` must be a list with at least one message")
    return tuple(message_of(item, f"{where}[{index}]") for index, item in enumerate(raw))


def message_of(raw: Any, where: str) -> Message:
    """One message. Raises DecodeError naming the place."""
    if not isinstance(raw, Mapping):
        raise DecodeError(f"`{where}` must be an object")
    role = raw.get("role")
    content = _content(raw.get("content"), where) or _content(raw.get("refusal"), where)
    calls = raw.get("tool_calls") or []
    if not isinstance(calls, list):
        raise DecodeError(f"`{where}.tool_calls` must be a list")
    older = [{"function": raw["function_call"]}] if raw.get("function_call") else []
    try:
        return Message(
            role=_ROLES.get(role, role) if isinstance(role, str) else role,
            content=content,
            tool_calls=tuple(_call(call, f"{where}.tool_calls") for call in (*calls, *older)),
            tool_call_id=raw.get("tool_call_id"),
            name=raw.get("name"),
        )
    except ValidationError as error:
        raise DecodeError(f"`{where}`: {first_problem(error)}") from None


def answer_of(raw: Any, where: str) -> tuple[Message, ...]:
    """What the agent answered: messages of which at least one is the assistant's, the others tools'."""
    output = messages_of(raw, where)
    if not any(message.role == "assistant" for message in output):
        raise DecodeError(f"`{where}` holds no message of the assistant")
    if any(message.role in {"system", "user"} for message in output):
        raise DecodeError(f"`{where}` holds a message that is not the assistant's or a tool's")
    return output


def first_problem(error: ValidationError) -> str:
    """The first problem as `key: what is wrong`, without the input: it is a stranger's text."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    return f"{key}: {' '.join(problem['msg'].split())}"[:300]


def _content(raw: Any, where: str) -> str:
    if raw is None or isinstance(raw, str):
        return raw or ""
    if not isinstance(raw, list):
        raise DecodeError(f"`{where}.content` must be text or a list of parts")
    return "\n".join(_part(part, where) for part in raw)


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise DecodeError(f"`{where}.content` holds a part that is neither text nor an object")
    for key in ("text", "refusal"):
        if isinstance(part.get(key), str):
            return str(part[key])
    return f"[{part.get('type', 'part')}]"  # an image or a sound: named, so that its absence shows


def _call(raw: Any, where: str) -> ToolCall:
    if not isinstance(raw, Mapping):
        raise DecodeError(f"`{where}` must hold objects")
    inner = raw.get("function", raw.get("custom", raw))
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise DecodeError(f"`{where}` holds a call without a name")
    given = inner.get("arguments", inner.get("input"))
    return ToolCall(name=inner["name"], arguments=_arguments(given), id=raw.get("id"))


def _arguments(raw: Any) -> dict[str, Any]:
    if isinstance(raw, dict):
        return raw
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        return {}
    if isinstance(raw, str):
        try:
            value = strict.parse(raw)
        except DecodeError:
            return {UNPARSED: raw}
        if isinstance(value, dict):
            return value
    return {UNPARSED: raw}
