"""Chat messages as logs spell them, made into ours.

Understood beside our own spelling: OpenAI's tool calls (arguments as a JSON string), content as a list of
parts, `developer` for `system`, the older `function` role, a refusal in place of content, and the ways in
which servers and models show what was thought (`thoughts`, `harmony`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from connectors.decoders import strict, thoughts
from connectors.decoders.harmony import channels
from connectors.errors import DecodeError
from policies.records import Message, ToolCall

UNPARSED = "_unparsed"
"""Key of tool arguments that are not a JSON object: the agent's own mistake, kept for the judges to see."""

CUT = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "incomplete"})
"""How servers say that an answer ended at a limit of length, in lower case."""

_ROLES = {"developer": "system", "function": "tool"}


def messages_of(raw: Any, where: str, *, role: str | None = None) -> tuple[Message, ...]:
    """A non-empty list of messages, of `role` where they name none. Raises DecodeError naming the place."""
    if not isinstance(raw, list) or not raw:
        raise DecodeError(f"`{where}` must be a list with at least one message")
    return tuple(message_of(item, f"{where}[{index}]", role=role) for index, item in enumerate(raw))


def message_of(raw: Any, where: str, *, role: str | None = None) -> Message:
    """One message, of `role` where it names none. Raises DecodeError naming the place."""
    if not isinstance(raw, Mapping):
        raise DecodeError(f"`{where}` must be an object")
    said = raw.get("role") or role
    said = _ROLES.get(said, said) if isinstance(said, str) else said
    content, calls = _said(raw, where), _calls(raw, where)
    fields = {
        "role": said,
        "content": content,
        "tool_calls": calls,
        "tool_call_id": _id(raw.get("tool_call_id")),
        "name": raw.get("name"),
    }
    if said == "assistant":
        fields |= _answered(raw, content, calls)
    try:
        return Message(**fields)
    except ValidationError as error:
        raise DecodeError(f"`{where}`: {first_problem(error)}") from None


def answer_of(raw: Any, where: str, *, role: str | None = None) -> tuple[Message, ...]:
    """What the agent answered: messages of which at least one is the assistant's, the others tools'."""
    output = messages_of(raw, where, role=role)
    if not any(message.role == "assistant" for message in output):
        raise DecodeError(f"`{where}` holds no message of the assistant")
    if any(message.role in {"system", "user"} for message in output):
        raise DecodeError(f"`{where}` holds a message that is not the assistant's or a tool's")
    return output


def cut_off(output: Sequence[Message], finish: Any = None) -> bool:
    """Whether an answer is not whole: the server says so, or its last message is a thought without answer."""
    last = next((message for message in reversed(output) if message.role == "assistant"), None)
    return (isinstance(finish, str) and finish.lower() in CUT) or (last is not None and last.unanswered)


def first_problem(error: ValidationError) -> str:
    """The first problem as `key: what is wrong`, without the input: it is a stranger's text."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    return f"{key}: {' '.join(problem['msg'].split())}"[:300]


def _answered(raw: Mapping[str, Any], content: str, calls: tuple[ToolCall, ...]) -> dict[str, Any]:
    """The assistant's thought, text and calls, each in its place."""
    parts = raw.get("content")
    among = [part for part in parts if thoughts.is_thought(part)] if isinstance(parts, list) else []
    if found := channels(content):
        raw_calls = tuple(ToolCall(name=name, arguments=_arguments(given)) for name, given in found.calls)
        inside, content, calls = found.thought, found.answer, calls or raw_calls
    else:
        inside, content = thoughts.parted(content)
    reasoning = thoughts.joined([thoughts.beside(raw), *map(thoughts.words, among), inside])
    return {"reasoning": reasoning, "content": content, "tool_calls": calls}


def _said(raw: Mapping[str, Any], where: str) -> str:
    """The message's text; else why it refused, else what it spoke."""
    audio = raw.get("audio")
    spoken = audio.get("transcript") if isinstance(audio, Mapping) else None
    text = _content(raw.get("content"), where) or _content(raw.get("refusal"), where)
    return text or (spoken if isinstance(spoken, str) else "")


def _content(raw: Any, where: str) -> str:
    if raw is None or isinstance(raw, str):
        return raw or ""
    if not isinstance(raw, list):
        raise DecodeError(f"`{where}.content` must be text or a list of parts")
    return "\n".join(_part(part, where) for part in raw if not thoughts.is_thought(part))


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise DecodeError(f"`{where}.content` holds a part that is neither text nor an object")
    for key in ("text", "refusal"):
        value = part.get(key)
        if isinstance(value, str) or thoughts.words(value):
            return thoughts.words(value)
    return f"[{part.get('type', 'part')}]"  # an image or a sound: named, so that its absence shows


def _calls(raw: Mapping[str, Any], where: str) -> tuple[ToolCall, ...]:
    calls = raw.get("tool_calls") or []
    if not isinstance(calls, list):
        raise DecodeError(f"`{where}.tool_calls` must be a list")
    older = [{"function": raw["function_call"]}] if raw.get("function_call") else []
    return tuple(_call(call, f"{where}.tool_calls") for call in (*calls, *older))


def _call(raw: Any, where: str) -> ToolCall:
    if not isinstance(raw, Mapping):
        raise DecodeError(f"`{where}` must hold objects")
    inner = raw.get("function", raw.get("custom", raw))
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise DecodeError(f"`{where}` holds a call without a name")
    given = inner.get("arguments", inner.get("input"))
    return ToolCall(name=inner["name"], arguments=_arguments(given), id=_id(raw.get("id")))


def _id(raw: Any) -> str | None:
    """An id as text; one that cannot name anything is none."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        return str(raw)
    return raw if isinstance(raw, str) and raw else None


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
