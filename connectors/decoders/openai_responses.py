"""Calls of OpenAI's responses API: `{"request": {"input": …, "instructions": …}, "response": {response}}`.

Either may be JSON text, or under `body`; a stream may be a list of its events or their raw text. Items become
turns (`items`). The id is the response's, `model` the one that it names, `safety_identifier` or `user` the
subject, `conversation` the session.

Where the history lies with the provider (`previous_response_id`, `conversation`, a stored prompt,
references to items, a compaction) the log has only the end of what the model was asked. Such a trace is
`incomplete`: nothing learns from it.
"""

from collections.abc import Mapping
from typing import Any

from connectors.decoders import exchange, items
from connectors.decoders.calls import Call, answered, call_of
from connectors.decoders.exchange import BROKE_OFF, Exchange
from connectors.decoders.ornaments import first_named, named, tags_of, time_of
from connectors.decoders.usage import usage_of
from connectors.errors import DecodeError
from connectors.events import Found, Skipped, SkipReason
from policies.records import digest

_ELSEWHERE = ("previous_response_id", "conversation")
"""Keys of a request, or of its response, by which the history is the provider's to know."""
_UNDER_WAY = ("queued", "in_progress")
_FAILED = ("failed", "cancelled")
_ENDS = ("response.completed", "response.incomplete", "response.failed")
_KIND = "response."


class OpenAIResponses:
    """The decoder of logged calls to `responses`."""

    name = "openai_responses"

    def matches(self, payload: Any) -> bool:
        """Whether the response is one of that API, or the request has its `input`; also a response alone."""
        if not isinstance(payload, dict):
            return False
        if _is_response(payload):
            return True
        try:
            call = call_of(payload)
        except DecodeError:
            return False
        if call is None or call.failed or call.empty:
            return False
        return _is_response(call.response) or _streams(call) or _asks(call)

    def decode(self, payload: Any, *, source: str, timestamp: float | None) -> list[Found]:
        """One event. Raises DecodeError naming what is wrong."""
        if not isinstance(payload, dict):
            raise DecodeError("an event must be an object")
        if _is_response(payload):
            raise DecodeError('a response without its request: log {"request": …, "response": …}')
        call = answered(payload)
        if isinstance(call, Skipped):
            return [call]
        response = _response(call)
        status = response.get("status")
        if status in _FAILED or response.get("error"):
            return [Skipped(SkipReason.ERROR)]
        if status in _UNDER_WAY:
            return [Skipped(SkipReason.EMPTY)]
        return exchange.events(_exchange(call, response, payload, timestamp), source=source)


def _exchange(call: Call, response: Mapping[str, Any], payload: Any, timestamp: float | None) -> Exchange:
    request = call.request
    instructions = request.get("instructions") or response.get("instructions")
    said = items.answer(response.get("output"), "response.output")
    conversation = request.get("conversation") or response.get("conversation")
    return Exchange(
        messages=[*items.instructed(instructions), *items.turns(request.get("input"), "request.input")],
        choices=[{"finish_reason": _ended(response), "message": said}],
        id=named(response.get("id") or call.around.get("id")) or digest(payload),
        ts=time_of(response.get("created_at"), timestamp),
        asked="request's turns",
        answered="response",
        ending="status",
        model=named(response.get("model")),
        requested=named(request.get("model")),
        session=named(conversation.get("id") if isinstance(conversation, Mapping) else conversation),
        subject=first_named(request.get("safety_identifier"), request.get("user")),
        tools=request.get("tools") or response.get("tools"),
        tags=tags_of(request.get("metadata")),
        truncated=response.get("status") == "incomplete",
        incomplete=_history_elsewhere(call.request, response),
        usage=usage_of(response.get("usage")),
        stream=call.stream,
    )


def _ended(response: Mapping[str, Any]) -> Any:
    """Why the answer ended: the reason for which it is incomplete, else its status."""
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, Mapping) else None
    return reason or response.get("status")


def _history_elsewhere(request: Mapping[str, Any], response: Mapping[str, Any]) -> bool:
    """Whether the provider knows more of what was asked than the log."""
    if any(each.get(key) for each in (request, response) for key in _ELSEWHERE):
        return True
    if request.get("prompt") and not (request.get("instructions") or response.get("instructions")):
        return True
    return items.refers_elsewhere(request.get("input"))


def _response(call: Call) -> Mapping[str, Any]:
    """The response; that of a stream is told whole by its last event."""
    if call.stream is None:
        if not isinstance(call.response, Mapping):
            raise DecodeError("`response` must be an object")
        return call.response
    done: list[Any] = []
    for piece in reversed(call.pieces):
        whole = piece.get("response") if isinstance(piece, Mapping) else None
        if isinstance(whole, Mapping) and piece.get("type") in _ENDS:
            done.extend(each["item"] for each in call.pieces if _is_item(each))
            return whole if whole.get("output") else {**whole, "output": done}
    raise DecodeError(f"`response` is {call.stream} that {BROKE_OFF}: `response.completed` never came")


def _is_item(piece: Any) -> bool:
    return isinstance(piece, Mapping) and piece.get("type") == "response.output_item.done" and "item" in piece


def _is_response(raw: Any) -> bool:
    return isinstance(raw, Mapping) and raw.get("object") == "response" and "request" not in raw


def _streams(call: Call) -> bool:
    """Whether it is a stream of this API's events."""
    kinds = (each.get("type") for each in call.pieces[:16] if isinstance(each, Mapping))
    return any(isinstance(kind, str) and kind.startswith(_KIND) for kind in kinds)


def _asks(call: Call) -> bool:
    """Whether the request is this API's and what came back may be."""
    if "input" not in call.request or "messages" in call.request:
        return False
    return isinstance(call.response, Mapping) and "output" in call.response
