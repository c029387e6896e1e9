"""OpenTelemetry's GenAI conventions, and OpenLLMetry's, from which they come.

`gen_ai.input.messages` and its like hold a list, as JSON text on spans and as a value on log records; their
messages have parts. Older ones have a key for each field, `gen_ai.prompt.N.content`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.decoders.otlp.content import Content, Raw, content_of, listed, nested
from connectors.decoders.thoughts import words
from connectors.errors import DecodeError
from policies.records import canonical

INPUT, OUTPUT, SYSTEM = "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"
TOOLS = "gen_ai.tool.definitions"
_OLD_INPUT, _OLD_OUTPUT = "gen_ai.prompt", "gen_ai.completion"
_OLD_TOOLS = "llm.request.functions."
_CHOICES = "gen_ai.request.choice.count"
_WORDED = frozenset({"text", "reasoning", "thinking"})
"""Types of parts whose content is words; that of others may be an image."""
_ELSEWHERE = ("_ref", ".ref", "_url", "_uri", "_reference")
_WHERE = "gen_ai"


def has_content(attributes: Mapping[str, Any]) -> bool:
    """Whether any of the conversation is here, in the new keys or in the old ones."""
    return any(
        key in {INPUT, OUTPUT, SYSTEM, _OLD_INPUT, _OLD_OUTPUT}
        or key.startswith((f"{_OLD_INPUT}.", f"{_OLD_OUTPUT}."))
        for key in attributes
    )


def elsewhere(attributes: Mapping[str, Any]) -> str | None:
    """The attribute that says that the content lies in another place."""
    names = [f"{base}{ending}" for base in (INPUT, OUTPUT) for ending in _ELSEWHERE]
    return next((name for name in names if attributes.get(name)), None)


def content(attributes: Mapping[str, Any], *, incomplete: bool) -> Content:
    """The conversation. Raises DecodeError naming the attribute that is wrong."""
    if not any(key in attributes for key in (INPUT, OUTPUT, SYSTEM)):
        return _older(attributes, incomplete=incomplete)
    said, all_of_it = listed(attributes.get(INPUT, []), INPUT, whole=False)
    asked = [*_system(attributes.get(SYSTEM)), *(raw for each in said for raw in _messages(each))]
    items, _ = listed(attributes.get(OUTPUT, []), OUTPUT, whole=True)
    answered = [raw for each in items for raw in _messages(each)]
    several = len(answered) > 1 and attributes.get(_CHOICES) == len(answered)
    return content_of(
        asked,
        answered,
        finish=finish_of(attributes, items),
        several=several,
        incomplete=incomplete or not all_of_it,
        where=_WHERE,
    )


def definitions_of(attributes: Mapping[str, Any]) -> list[Any]:
    """The tools' definitions, in whatever shape each has. Those that a limit cut off are left out."""
    try:
        found, _ = listed(attributes.get(TOOLS, []), TOOLS, whole=False)
    except DecodeError:
        found = []
    return [each for each in found or nested(attributes, _OLD_TOOLS) if isinstance(each, Mapping)]


def finish_of(attributes: Mapping[str, Any], items: Sequence[Any]) -> str | None:
    """How the answer ended: the message says it, or the span for all of its choices."""
    own = items[0].get("finish_reason") if items and isinstance(items[0], Mapping) else None
    reasons = attributes.get("gen_ai.response.finish_reasons")
    first = reasons[0] if isinstance(reasons, list) and reasons else reasons
    found = next((each for each in (first, own) if isinstance(each, str) and each), None)
    return {"tool_call": "tool_calls"}.get(found, found) if found else None


def _system(raw: Any) -> list[Raw]:
    if raw is None:
        return []
    if isinstance(raw, str) and not raw.lstrip().startswith(("[", "{")):
        return [{"role": "system", "content": raw}]
    items, _ = listed(raw, SYSTEM, whole=True)
    text = "\n".join(found for each in items if (found := words(each)))
    return [{"role": "system", "content": text}] if text else []


def _messages(raw: Any) -> list[Raw]:
    """One message of parts as those of a chat: each of its tools' results is a message of its own."""
    if not isinstance(raw, Mapping):
        raise DecodeError("`gen_ai` messages must be objects")
    parts = raw.get("parts")
    if not isinstance(parts, list):
        return [dict(raw)]
    results = [part for part in parts if _kind(part) == "tool_call_response"]
    found: list[Raw] = [
        {"role": "tool", "tool_call_id": part.get("id"), "name": part.get("name"), "content": _result(part)}
        for part in results
    ]
    others = [part for part in parts if _kind(part) not in {"tool_call_response", "tool_call"}]
    calls = [part for part in parts if _kind(part) == "tool_call"]
    if others or calls or not results:
        own = {"role": raw.get("role"), "name": raw.get("name"), "content": [_part(each) for each in others]}
        if calls:
            own["tool_calls"] = calls
        found.append(own)
    return found


def _kind(part: Any) -> Any:
    return part.get("type") if isinstance(part, Mapping) else None


def _part(part: Any) -> Any:
    """A part with its text where a chat's part has it."""
    if not isinstance(part, Mapping):
        return part
    text = part.get("content")
    shown = {key: value for key, value in part.items() if key != "content"}
    return shown | ({"text": text} if _kind(part) in _WORDED and isinstance(text, str) else {})


def _result(part: Mapping[str, Any]) -> str:
    """What a tool answered, as text: the conventions have it under two names."""
    raw = next((part[key] for key in ("response", "result", "content") if part.get(key) is not None), "")
    if isinstance(raw, str):
        return raw
    shown = isinstance(raw, list) and all(_kind(each) == "text" for each in raw)
    return words(raw) if shown and raw else canonical(raw).decode()


def _older(attributes: Mapping[str, Any], *, incomplete: bool) -> Content:
    """The conventions before messages were lists."""
    asked, all_of_it = _indexed(attributes, _OLD_INPUT, whole=False)
    answered, _ = _indexed(attributes, _OLD_OUTPUT, whole=True)
    return content_of(
        asked,
        answered,
        finish=finish_of(attributes, answered),
        several=len(answered) > 1,
        incomplete=incomplete or not all_of_it,
        where=_WHERE,
    )


def _indexed(attributes: Mapping[str, Any], name: str, *, whole: bool) -> tuple[list[Raw], bool]:
    role = "user" if name == _OLD_INPUT else "assistant"
    items, all_of_it = nested(attributes, f"{name}."), True
    if not items and name in attributes:
        value = attributes[name]
        if isinstance(value, str) and not value.lstrip().startswith(("[", "{")):
            return [{"role": role, "content": value}], True
        items, all_of_it = listed(value, name, whole=whole)
    return [_filled(each, role) for each in items if isinstance(each, Mapping)], all_of_it


def _filled(raw: Mapping[str, Any], role: str) -> Raw:
    """A message with a role, and the parts that OpenLLMetry writes as JSON text."""
    text = raw.get("content")
    if isinstance(text, str) and text.startswith('[{"'):
        try:
            parts, _ = listed(text, "content", whole=True)
        except DecodeError:
            parts = []
        if parts and all(isinstance(_kind(each), str) for each in parts):
            text = parts
    return {**raw, "role": raw.get("role") or role, "content": text}
