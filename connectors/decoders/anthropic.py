"""Calls of Anthropic's messages API: `{"request": {"messages": …, "system": …}, "response": {message}}`.

Either may be JSON text, or under `body`; a stream may be a list of its events or their raw text. A tool's
result is a block of the user's turn there and a turn of its own here. The id is the message's, `model`
the one that the response names, `metadata.user_id` the subject. There is no time in the response: it is
the record's (`ts`, `timestamp` or `created_at`), else the transport's. What the provider ran itself (a
search, code) is named by its block's type and makes the answer `unshown`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from connectors.decoders import anthropic_stream, exchange
from connectors.decoders.calls import Call, answered, call_of
from connectors.decoders.exchange import BROKE_OFF, Exchange
from connectors.decoders.ornaments import named, recorded_at, time_of
from connectors.decoders.usage import usage_of
from connectors.errors import DecodeError
from connectors.events import Found, Skipped
from policies.records import digest


class Anthropic:
    """The decoder of logged calls to `messages`."""

    name = "anthropic"

    def matches(self, payload: Any) -> bool:
        """Whether the response is a message, or a stream of one; also alone, which is told what it lacks."""
        if not isinstance(payload, dict):
            return False
        if _is_message(payload):
            return True
        try:
            call = call_of(payload)
        except DecodeError:
            return False
        return call is not None and (_is_message(call.response) or anthropic_stream.is_of(call.pieces))

    def decode(self, payload: Any, *, source: str, timestamp: float | None) -> list[Found]:
        """One event. Raises DecodeError naming what is wrong."""
        if not isinstance(payload, dict):
            raise DecodeError("an event must be an object")
        if _is_message(payload):
            raise DecodeError('a message without its request: log {"request": …, "response": …}')
        call = answered(payload)
        if isinstance(call, Skipped):
            return [call]
        return exchange.events(_exchange(call, payload, timestamp), source=source)


def _exchange(call: Call, payload: Any, timestamp: float | None) -> Exchange:
    response = _response(call)
    metadata = call.request.get("metadata")
    return Exchange(
        messages=turns(call.request),
        choices=[{"finish_reason": response.get("stop_reason"), "message": answer(response)}],
        id=named(response.get("id") or call.around.get("id")) or digest(payload),
        ts=time_of(recorded_at(call.around), timestamp),
        asked="request's turns",
        answered="response",
        ending="stop_reason",
        model=named(response.get("model")),
        requested=named(call.request.get("model")),
        subject=named(metadata.get("user_id")) if isinstance(metadata, Mapping) else None,
        tools=call.request.get("tools"),
        usage=usage_of(response.get("usage")),
        stream=call.stream,
    )


def _response(call: Call) -> Mapping[str, Any]:
    if call.stream is not None:
        if not anthropic_stream.is_of(call.pieces):
            raise DecodeError(f"`response` is {call.stream} that {BROKE_OFF}, or not Anthropic's")
        return anthropic_stream.assembled(call.pieces, "response")
    if not isinstance(call.response, Mapping):
        raise DecodeError("`response` must be an object")
    return call.response


def answer(response: Mapping[str, Any]) -> dict[str, Any]:
    """The answer in OpenAI's shape. Raises DecodeError."""
    content = response.get("content")
    if not isinstance(content, list | str):
        raise DecodeError("`response.content` must be a list of blocks")
    return _assistant(content)


def _is_message(raw: Any) -> bool:
    if not isinstance(raw, Mapping) or "choices" in raw:
        return False
    told = raw.get("type") == "message" or "stop_reason" in raw
    return told and raw.get("role") == "assistant" and "content" in raw


def turns(request: Mapping[str, Any]) -> list[Any]:
    """The request's turns in OpenAI's shapes. Raises DecodeError."""
    messages, system = request.get("messages"), request.get("system")
    if not isinstance(messages, list) or not messages:
        raise DecodeError("`request.messages` must be a list with at least one message")
    told: list[Any] = [{"role": "system", "content": system}] if system else []
    for message in messages:
        told.extend(turns_of(message))
    return told


def turns_of(message: Any) -> Iterator[Any]:
    """One message: the assistant's is one turn; a user's is one a tool's result, and one of the rest."""
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list):
        yield message
    elif message.get("role") == "assistant":
        yield _assistant(content)
    else:
        said: list[Any] = []
        for block in content:
            if _kind(block) == "tool_result":
                if said:
                    yield {**message, "content": said}
                    said = []
                yield {
                    "role": "tool", "tool_call_id": block.get("tool_use_id"), "content": block.get("content"),
                }  # fmt: skip
            else:
                said.append(block)
        if said or not content:
            yield {**message, "content": said}


def _assistant(content: list[Any] | str) -> dict[str, Any]:
    """The assistant's turn. Texts that follow each other are one: citations cut it in pieces."""
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    calls = [
        {"id": block.get("id"), "function": {"name": block.get("name"), "arguments": block.get("input")}}
        for block in content
        if _kind(block) == "tool_use"
    ]
    parts: list[Any] = []
    texts: list[str] = []
    for block in content:
        text = block.get("text") if _kind(block) == "text" else None
        if isinstance(text, str):
            texts.append(text)
            continue
        if texts:
            parts.append("".join(texts))
            texts = []
        if _kind(block) != "tool_use":
            parts.append(block)
    if texts:
        parts.append("".join(texts))
    return {"role": "assistant", "content": parts, "tool_calls": calls}


def _kind(block: Any) -> Any:
    return block.get("type") if isinstance(block, Mapping) else None
