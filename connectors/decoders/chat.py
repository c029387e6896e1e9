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
from connectors.events import SkipReason
from policies.records import Message, ToolCall

UNPARSED = "_unparsed"
"""Key of tool arguments that are not a JSON object: the agent's own mistake, kept for the judges to see."""

CUT = frozenset(
    {
        "length", "max_tokens", "max_output_tokens", "model_length", "incomplete",
        "model_context_window_exceeded", "pause_turn", "refusal",
    }
)  # fmt: skip
"""How servers say that an answer ended before it was whole, in lower case: at a limit, or, as Anthropic's
`refusal` does, because a filter broke it off.
"""

WITHHELD = frozenset(
    {
        "content_filter", "safety", "recitation", "blocklist", "prohibited_content", "spii", "refusal",
    }
)  # fmt: skip
"""How servers say that a filter kept an answer back, in lower case."""

_ROLES = {
    "developer": "system", "function": "tool", "model": "assistant", "ai": "assistant", "bot": "assistant",
    "human": "user",
}  # fmt: skip
_BARE = frozenset({"role", "content", "tool_call_id", "name"})
"""Keys of a message that is its text and nothing else, as most are."""
_SAYING = frozenset({"text", "input_text", "output_text"})
"""Types of parts that are text, also where it is null."""


def messages_of(raw: Any, where: str, *, role: str | None = None) -> tuple[Message, ...]:
    """A non-empty list of messages, of `role` where they name none. Raises DecodeError naming the place."""
    if not isinstance(raw, list) or not raw:
        raise DecodeError(f"`{where}` must be a list with at least one message")
    return tuple(message_of(item, f"{where}[{index}]", role=role) for index, item in enumerate(raw))


def message_of(raw: Any, where: str, *, role: str | None = None) -> Message:
    """One message, of `role` where it names none. Raises DecodeError naming the place."""
    if not isinstance(raw, Mapping):
        raise DecodeError(f"`{where}` must be an object")
    said = role_of(raw.get("role")) or role
    content: Any = raw.get("content")
    calls: tuple[ToolCall, ...] = ()
    if not isinstance(content, str) or not raw.keys() <= _BARE:
        content, calls = _said(raw, where), _calls(raw, where)
    fields = {
        "role": said,
        "content": content,
        "tool_calls": calls,
        "tool_call_id": _id(raw.get("tool_call_id")),
        "name": _id(raw.get("name")),
    }
    if said == "assistant":
        fields |= _answered(raw, content, calls)
    try:
        return Message(**fields)
    except ValidationError as error:
        raise DecodeError(f"`{where}`: {first_problem(error)}") from None


def role_of(raw: Any) -> str | None:
    """A role as we spell it, in lower case; None where the log names none."""
    if not isinstance(raw, str) or not raw.strip():
        return None
    name = raw.strip().lower()
    return _ROLES.get(name, name)


def silence(output: Sequence[Message], finish: Any = None) -> SkipReason | None:
    """Why there is no answer in what the agent put out; None where some message of its own says something."""
    own = [message for message in output if message.role == "assistant"]
    if any(message.content.strip() or message.tool_calls for message in own):
        return None
    if isinstance(finish, str) and finish.lower() in WITHHELD:
        return SkipReason.WITHHELD
    return SkipReason.THOUGHT if any(message.reasoning for message in own) else SkipReason.EMPTY


def hides(raw: Any) -> bool:
    """Whether a message holds what cannot be shown as text, such as an image, or a sound without its words.

    A placeholder then stands in the text: people and judges shall see it, and no policy learn it.
    """
    if not isinstance(raw, Mapping):
        return False
    if isinstance(raw.get("content"), str):
        return bool(_beside(raw))
    parts = _parts(raw.get("content"))
    shown = all(thoughts.is_thought(part) or _text(part) is not None for part in parts)
    return not shown or bool(_beside(raw))


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
    """The message's text; else why it refused, else what it spoke. What else it brought is named."""
    audio = raw.get("audio")
    spoken = audio.get("transcript") if isinstance(audio, Mapping) else None
    text = _content(raw.get("content"), where) or _content(raw.get("refusal"), where)
    text = text or (spoken if isinstance(spoken, str) else "")
    return "\n".join(each for each in (text, *_beside(raw)) if each)


def _beside(raw: Mapping[str, Any]) -> list[str]:
    """Placeholders of what a message has beside its content and not in words."""
    if "audio" not in raw and "images" not in raw:
        return []
    audio, images = raw.get("audio"), raw.get("images")
    mute = isinstance(audio, Mapping) and bool(audio) and not audio.get("transcript")
    pictures = images if isinstance(images, list) else []
    return ["[audio]"] * (mute and not raw.get("content")) + [_placeholder(each) for each in pictures]


def _content(raw: Any, where: str) -> str:
    if raw is None or isinstance(raw, str):
        return raw or ""
    if not isinstance(raw, list | Mapping):
        raise DecodeError(f"`{where}.content` must be text or a list of parts")
    return "\n".join(_part(part, where) for part in _parts(raw) if not thoughts.is_thought(part))


def _parts(raw: Any) -> list[Any]:
    """The parts of a content; one that stands without its list is a list of one."""
    return [raw] if isinstance(raw, Mapping) else raw if isinstance(raw, list) else []


def _part(part: Any, where: str) -> str:
    if not isinstance(part, str | Mapping):
        raise DecodeError(f"`{where}.content` holds a part that is neither text nor an object")
    text = _text(part)
    return _placeholder(part) if text is None else text


def _text(part: Any) -> str | None:
    """A part's words; None where it has none to show."""
    if not isinstance(part, Mapping):
        return part if isinstance(part, str) else None
    for key in ("text", "refusal", "transcript"):
        value = part.get(key)
        if isinstance(value, str) or thoughts.words(value):
            return thoughts.words(value)
    kind = part.get("type")
    return "" if isinstance(kind, str) and kind in _SAYING else None


def _placeholder(part: Any) -> str:
    """An image or a sound by its name, so that its absence shows."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    return f"[{kind if isinstance(kind, str) and kind else 'part'}]"[:80]


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
