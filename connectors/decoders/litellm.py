"""LiteLLM's StandardLoggingPayload, as its callbacks write it: one object, an array of them, or one a line.

The id is the response's, `model` the one that the response names and `requested_model` a tag: the gateway
answers to an alias. The session is `session_id`, else `trace_id`, which is where a session's id comes back in
the SDK. The response may be a chat completion, a text completion, Anthropic's message or a response of
OpenAI's newer API, as the call was; what embeds, ranks or draws holds no answer.

What LiteLLM put in place of a text (`redacted-by-litellm`, also on one side alone) is refused by name.
Where it cut a prompt short, the trace is `incomplete`; where it cut the answer, it is refused.
"""

import re
from collections.abc import Mapping
from typing import Any

from connectors.decoders import anthropic, exchange, items, strict
from connectors.decoders.exchange import Exchange
from connectors.decoders.ornaments import as_text, first_named, tags_of, time_of
from connectors.decoders.usage import usage_of
from connectors.errors import DecodeError
from connectors.events import Found, Skipped, SkipReason
from policies.records import Message, Trace, digest

_OWN = frozenset(
    {
        "litellm_call_id", "call_type", "model_parameters", "hidden_params", "request_tags",
        "model_map_information", "custom_llm_provider", "response_cost", "model_group", "status_fields",
    }
)  # fmt: skip
"""Keys by which a payload is LiteLLM's; two of them, or one with messages and response."""
_OTHER_CALLS = ("embedding", "image", "speech", "transcription", "rerank", "moderation", "ocr", "video")
"""What is in a `call_type` of what is no chat."""
_MOST_TAGS = 64
_CUT = re.compile(r"\(litellm_truncated (?:skipped )?\d{1,12} char")


class LiteLLM:
    """The decoder of LiteLLM's own log."""

    name = "litellm"

    def matches(self, payload: Any) -> bool:
        """Whether its keys are LiteLLM's, or it is messages with a response that is bare text."""
        if not isinstance(payload, dict) or "request" in payload:
            return False
        own = len(_OWN & payload.keys())
        if "messages" not in payload or "response" not in payload:
            return own > 1
        response = payload["response"]
        bare = isinstance(response, str) and not response.lstrip().startswith(("{", "[", "data:", "event:"))
        return own > 0 or (bare and isinstance(payload["messages"], list))

    def decode(self, payload: Any, *, source: str, timestamp: float | None) -> list[Found]:
        """One event a choice. Raises DecodeError naming what is wrong."""
        if not isinstance(payload, dict):
            raise DecodeError("an event must be an object")
        response = _read(payload.get("response"), "response")
        failed = isinstance(response, Mapping) and bool(response.get("error"))
        if payload.get("status") == "failure" or failed:
            return [Skipped(SkipReason.ERROR)]
        if any(word in as_text(payload.get("call_type") or "") for word in _OTHER_CALLS):
            return [Skipped(SkipReason.EMPTY)]
        if response in (None, {}, "", []):
            return [Skipped(SkipReason.EMPTY)]
        found = exchange.events(_exchange(payload, response, timestamp), source=source)
        return [_whole(each) for each in found]


def _exchange(payload: Mapping[str, Any], response: Any, timestamp: float | None) -> Exchange:
    given, metadata = _object(payload, "model_parameters"), _object(payload, "metadata")
    told = response if isinstance(response, Mapping) else {}
    messages, choices = _conversation(_read(payload.get("messages"), "messages"), response, given)
    return Exchange(
        messages=messages,
        choices=choices,
        id=first_named(told.get("id"), payload.get("id"), payload.get("litellm_call_id")) or digest(payload),
        ts=time_of(_ended_at(payload, told), timestamp),
        asked="messages",
        model=first_named(told.get("model"), payload.get("model")),
        requested=first_named(payload.get("model_group"), payload.get("model")),
        session=first_named(payload.get("session_id"), payload.get("trace_id")),
        subject=first_named(
            payload.get("end_user"), metadata.get("user_api_key_end_user_id"), given.get("user")
        ),
        tools=given.get("tools") or given.get("functions"),
        tags=_tags(payload, metadata),
        truncated=told.get("status") == "incomplete",
        incomplete=bool(given.get("previous_response_id")),
        usage=usage_of(told.get("usage")) or usage_of(payload),
    )


def _conversation(messages: Any, response: Any, given: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """Turns and choices in OpenAI's chat shapes, from the shapes of whichever interface was called."""
    if isinstance(response, str):
        return _turns(messages), [{"message": {"content": response}}]
    if not isinstance(response, Mapping):
        raise DecodeError("`response` must be an object or text")
    if response.get("object") == "response":
        said = items.answer(response.get("output"), "response.output")
        turns = [*items.instructed(given.get("instructions")), *items.turns(messages, "messages")]
        return turns, [{"finish_reason": response.get("status"), "message": said}]
    if response.get("type") == "message":
        asked = {"messages": messages, "system": given.get("system")}
        answered = anthropic.answer(response)
        return anthropic.turns(asked), [{"finish_reason": response.get("stop_reason"), "message": answered}]
    if isinstance(response.get("text"), str) and "choices" not in response:
        return _turns(messages), [{"message": {"content": response["text"]}}]
    choices = response.get("choices")
    if not isinstance(choices, list) or not choices:
        raise DecodeError("`response.choices` must be a list with at least one choice")
    return _turns(messages), [_choice(each) for each in choices]


def _turns(messages: Any) -> Any:
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else messages


def _choice(raw: Any) -> Any:
    """A choice of a text completion, as one of a chat."""
    if isinstance(raw, Mapping) and "message" not in raw and isinstance(raw.get("text"), str):
        return {**raw, "message": {"content": raw["text"]}}
    return raw


def _whole(found: Found) -> Found:
    """A trace as it is where LiteLLM kept all of it; else what that makes of it."""
    if not isinstance(found, Trace):
        return found
    if any(map(_is_cut, found.output)):
        return DecodeError("`response` was cut short by LiteLLM: its end is not in the log")
    return found.model_copy(update={"incomplete": True}) if any(map(_is_cut, found.messages)) else found


def _is_cut(message: Message) -> bool:
    return _CUT.search(message.content) is not None


def _ended_at(payload: Mapping[str, Any], response: Mapping[str, Any]) -> Any:
    times = (payload.get("endTime"), payload.get("startTime"), response.get("created"))
    return next((each for each in times if each), None)


def _tags(payload: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, str]:
    """What the caller said of the call: `key:value` tags by their key, others as true."""
    raw = payload.get("request_tags")
    told = raw[:_MOST_TAGS] if isinstance(raw, list) else []
    parts = (each.partition(":") for each in told if isinstance(each, str))
    tags = {key: value if colon else "true" for key, colon, value in parts}
    return tags_of(metadata.get("requester_metadata")) | tags


def _read(raw: Any, where: str) -> Any:
    """A value that some sinks write as JSON text."""
    if not isinstance(raw, str) or not raw.lstrip().startswith(("{", "[")):
        return raw
    try:
        return strict.parse(raw)
    except DecodeError as error:
        raise DecodeError(f"`{where}` is text that holds JSON and cannot be read: {error}") from None


def _object(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, Mapping) else {}
