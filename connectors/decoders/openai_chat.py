"""Calls of OpenAI's chat completions: `{"request": {"messages": …}, "response": {chat completion}}`.

Either may be JSON text, or under `body`; a stream may be a list of its chunks or the raw text of its events
(`calls`, `chunks`). Each choice of the response stands for itself: a trace, skipped, or refused. Its id is
the response's (`id#1` for the choice with index 1). `model` is the one the response names. `request.user`
(or `safety_identifier`) is the subject, `request.metadata` becomes tags, both as text: nothing depends on
them. A choice that ended at a limit of length is truncated.

What holds no answer is skipped: an error in place of the response, no response, a choice that says nothing or
broke off. A stream whose end never came is refused, and so are its single chunks and completions without
their request, with what to do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.decoders import exchange
from connectors.decoders.calls import Call, answered, call_of, error_alone
from connectors.decoders.chunks import assembled
from connectors.decoders.exchange import BROKE_OFF, Exchange
from connectors.decoders.ornaments import named, tags_of, time_of
from connectors.decoders.usage import usage_of
from connectors.errors import DecodeError
from connectors.events import Found, Skipped, SkipReason
from policies.records import digest

_ASSEMBLE = "log the assembled completion, or all of its chunks in one list,"


class OpenAIChat:
    """The decoder of logged calls to `chat.completions`."""

    name = "openai_chat"

    def matches(self, payload: Any) -> bool:
        """Whether it is a pair with messages or an error, or one half or a piece of one."""
        if not isinstance(payload, dict):
            return False
        if error_alone(payload) or _half(payload):
            return True
        try:
            call = call_of(payload)
        except DecodeError:
            return True  # a pair all the same: it is told what is wrong with it
        return call is not None and ("messages" in call.request or call.failed)

    def decode(self, payload: Any, *, source: str, timestamp: float | None) -> list[Found]:
        """One event a choice. Raises DecodeError naming what is wrong with all of them."""
        if not isinstance(payload, dict):
            raise DecodeError("an event must be an object")
        if error_alone(payload):
            return [Skipped(SkipReason.ERROR)]
        if _half(payload):
            raise DecodeError(_whats_half(payload))
        call = answered(payload)
        if isinstance(call, Skipped):
            return [call]
        response = _response(call)
        return exchange.events(_exchange(call, response, payload, timestamp), source=source)


def _exchange(call: Call, response: Mapping[str, Any], payload: Any, timestamp: float | None) -> Exchange:
    request = call.request
    subject = request.get("user")
    return Exchange(
        messages=request.get("messages"),
        choices=_choices(response, call.stream),
        id=named(response.get("id") or call.around.get("id")) or digest(payload),
        ts=time_of(response.get("created"), timestamp),
        model=named(response.get("model")),
        subject=named(request.get("safety_identifier") if subject is None else subject),
        tools=request.get("tools") or request.get("functions"),
        tags=tags_of(request.get("metadata")),
        truncated=response.get("status") == "incomplete",
        usage=usage_of(response.get("usage")),
        stream=call.stream,
    )


def _response(call: Call) -> Mapping[str, Any]:
    if call.stream is not None:
        return assembled(call.pieces, "response")
    if not isinstance(call.response, Mapping):
        raise DecodeError("`response` must be an object")
    if call.response.get("object") == "chat.completion.chunk":
        raise DecodeError(f"the response is one chunk of a stream: {_ASSEMBLE} as `response`")
    return call.response


def _choices(response: Mapping[str, Any], stream: str | None) -> Sequence[Any]:
    choices = response.get("choices")
    if isinstance(choices, list) and choices:
        return choices
    if stream is not None:
        raise DecodeError(f"`response` is {stream} that {BROKE_OFF}: none of its chunks holds a choice")
    raise DecodeError("`response.choices` must be a list with at least one choice")


def _half(payload: Mapping[str, Any]) -> bool:
    """Whether it is a completion, or a piece of one, without its request."""
    kind = payload.get("object")
    return "request" not in payload and isinstance(kind, str) and kind.startswith("chat.completion")


def _whats_half(payload: Mapping[str, Any]) -> str:
    if payload["object"] == "chat.completion.chunk":
        return f"one chunk of a stream: {_ASSEMBLE} with its request"
    return 'a completion without its request: log {"request": …, "response": …}'
