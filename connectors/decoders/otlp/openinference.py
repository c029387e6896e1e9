"""OpenInference's conventions: a key for each field, `llm.input_messages.N.message.content`.

The request and the response stand beside it once more, as JSON text in `input.value` and `output.value`: the
response's id is only there, and a text that breaks off there says that a limit cut the others, too.
"""

from collections.abc import Mapping
from typing import Any

from connectors.decoders import strict
from connectors.decoders.otlp.content import Content, Raw, content_of, listed, nested
from connectors.errors import DecodeError

KIND = "openinference.span.kind"
_INPUT, _OUTPUT, _TOOLS = "llm.input_messages", "llm.output_messages", "llm.tools."
_WHERE = "llm"


def has_content(attributes: Mapping[str, Any]) -> bool:
    """Whether any of the conversation is here."""
    return any(key.startswith((_INPUT, _OUTPUT)) for key in attributes) or (
        "input.value" in attributes and "output.value" in attributes
    )


def content(attributes: Mapping[str, Any], *, incomplete: bool) -> Content:
    """The conversation. Raises DecodeError naming the attribute that is wrong."""
    asked, answered = _messages(attributes, _INPUT), _messages(attributes, _OUTPUT)
    request, response = document(attributes, "input.value"), document(attributes, "output.value")
    cut = request is CUT_OFF or response is CUT_OFF
    if not asked:
        asked = _told(attributes, "input.value", request, "user")
    if not answered:
        answered = _told(attributes, "output.value", response, "assistant")
    return content_of(
        asked,
        answered,
        finish=_finish(attributes, response),
        several=len(answered) > 1 and parameters(attributes).get("n") == len(answered),
        incomplete=incomplete or cut,
        where=_WHERE,
    )


def parameters(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the request asked for beside its messages."""
    found = document(attributes, "llm.invocation_parameters")
    return found if isinstance(found, Mapping) else {}


def definitions_of(attributes: Mapping[str, Any]) -> list[Any]:
    """The tools' definitions, in the shape of their provider."""
    found: list[Any] = []
    for each in nested(attributes, _TOOLS):
        schema = each.get("tool", {}) if isinstance(each, Mapping) else {}
        raw = schema.get("json_schema") if isinstance(schema, Mapping) else None
        try:
            found.append(strict.parse(raw) if isinstance(raw, str) else raw)
        except DecodeError:
            continue
    return [each for each in found if isinstance(each, Mapping)]


class _CutOff:
    """A JSON text that breaks off."""


CUT_OFF = _CutOff()


def document(attributes: Mapping[str, Any], name: str) -> Any:
    """An attribute's JSON value; `CUT_OFF` where its text breaks off, None where it is no JSON."""
    raw = attributes.get(name)
    if not isinstance(raw, str) or not raw.lstrip().startswith(("{", "[")):
        return None
    try:
        return strict.parse(raw)
    except DecodeError:
        mime = attributes.get(name.replace(".value", ".mime_type"))
        return CUT_OFF if mime == "application/json" else None


def _messages(attributes: Mapping[str, Any], name: str) -> list[Raw]:
    items = nested(attributes, f"{name}.")
    if not items and name in attributes:
        items, _ = listed(attributes[name], name, whole=True)
    return [_message(each, name) for each in items]


def _message(raw: Any, name: str) -> Raw:
    """One message; some write all of it as one JSON text."""
    if isinstance(raw, str):
        (raw, *_), _ = listed(raw, name, whole=True)
    if not isinstance(raw, Mapping):
        raise DecodeError(f"`{name}` must hold messages")
    inner = raw.get("message", raw)
    if not isinstance(inner, Mapping):
        raise DecodeError(f"`{name}` must hold messages")
    contents, calls = inner.get("contents"), inner.get("tool_calls")
    parts = contents if isinstance(contents, list) else []
    own = [call for each in calls if (call := _call(each))] if isinstance(calls, list) else []
    found = {key: value for key, value in inner.items() if key not in {"contents", "tool_calls"}}
    found |= {"tool_calls": own or [call for each in parts if (call := _call(each))]}
    if "function_call_name" in found:
        arguments = found.get("function_call_arguments_json")
        found["function_call"] = {"name": found["function_call_name"], "arguments": arguments}
    texts = [part for each in parts if (part := _part(each)) is not None]
    if texts and not found.get("content"):
        found["content"] = texts
    return found


def _call(raw: Any) -> Any:
    call = raw.get("tool_call", raw.get("function") and raw) if isinstance(raw, Mapping) else None
    return call if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping) else None


def _part(raw: Any) -> Any:
    """A part of a message's contents; None: it is a call, which is among the calls."""
    inner = raw.get("message_content", raw) if isinstance(raw, Mapping) else raw
    if not isinstance(inner, Mapping):
        return inner if isinstance(inner, str) else None
    return None if inner.get("type") in {"tool_use", "tool_call"} else dict(inner)


def _told(attributes: Mapping[str, Any], name: str, value: Any, role: str) -> list[Raw]:
    """The messages of a whole request or response, or its text."""
    if isinstance(value, Mapping):
        inside = value.get("messages") if role == "user" else _choices(value)
        return [dict(each) for each in inside or () if isinstance(each, Mapping)]
    text = attributes.get(name)
    plain = value is None and isinstance(text, str) and text.strip()
    return [{"role": role, "content": text}] if plain else []


def _choices(response: Mapping[str, Any]) -> list[Any]:
    choices = response.get("choices")
    found = choices if isinstance(choices, list) else []
    return [each.get("message") for each in found if isinstance(each, Mapping)]


def _finish(attributes: Mapping[str, Any], response: Any) -> str | None:
    own = attributes.get("llm.finish_reason")
    if isinstance(own, str) and own:
        return own
    choices = response.get("choices") if isinstance(response, Mapping) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    found = first.get("finish_reason") if isinstance(first, Mapping) else None
    return found if isinstance(found, str) else None
