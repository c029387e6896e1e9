"""OpenAI chat request and response pairs: `{"request": {"messages": …}, "response": {chat completion}}`.

Each choice of the response stands for itself: a trace, skipped, or refused. Its id is the response's (`id#1`
for the choice with index 1). `model` is the one the response names. `request.user` (or `safety_identifier`)
is the subject, `request.metadata` becomes tags, both as text: nothing depends on them. Usage is ignored: it
says nothing about quality. A choice that ended at a limit of length is truncated.

What holds no answer is skipped: an error in place of the response, no response, a choice that says nothing or
broke off. Pieces of streams, and completions without their request, are known and refused with what to do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from connectors.decoders.chat import cut_off, first_problem, hides, message_of, messages_of, role_of, silence
from connectors.decoders.native import moment
from connectors.decoders.tools import definitions, tied
from connectors.errors import DecodeError
from connectors.events import Found, Skipped, SkipReason
from policies.records import Message, Trace, canonical, digest

LONGEST = 480
"""Characters of an id or a name that is kept as it is; a longer one is kept as its digest."""

MOST_CHOICES = 128
"""Choices of one response: as many as OpenAI's interface gives."""
MOST_REPEATED = 32 << 20
"""Characters that the prompt may come to, told anew with each choice."""

_ROLES = frozenset({"system", "user", "assistant", "tool"})
_OF_ERRORS = frozenset(
    {"error", "id", "request_id", "object", "type", "created", "model", "status", "status_code", "code"}
)
"""Keys of an error response that stands alone."""
_ASSEMBLE = "log the assembled completion"


class OpenAIChat:
    """The decoder of logged calls to `chat.completions`."""

    name = "openai_chat"

    def matches(self, payload: Any) -> bool:
        """Whether it is a pair with messages or an error, or one half or a piece of one."""
        if not isinstance(payload, dict):
            return False
        request = payload.get("request")
        if isinstance(request, Mapping):
            return "messages" in request or _unserved(payload)
        if "response" in payload and isinstance(request, str):
            return request.lstrip().startswith("{")
        return _error_alone(payload) or _half(payload)

    def decode(self, payload: Any, *, source: str, timestamp: float | None) -> list[Found]:
        """One event a choice. Raises DecodeError naming what is wrong with all of them."""
        if not isinstance(payload, dict):
            raise DecodeError("an event must be an object")
        if _error_alone(payload):
            return [Skipped(SkipReason.ERROR)]
        if _half(payload):
            raise DecodeError(_whats_half(payload))
        request, response = _request(payload), payload.get("response")
        if _unserved(payload):
            return [Skipped(SkipReason.ERROR)]
        if "response" not in payload:
            raise DecodeError('a request without its response: log {"request": …, "response": …}')
        if response in (None, {}, ""):
            return [Skipped(SkipReason.EMPTY)]
        answered = _response(response)
        common = _common(request, answered, payload, timestamp) | {"source": source}
        prompt = messages_of(request.get("messages"), "request.messages")
        choices, own = _choices(answered), common.pop("id")
        _bound(len(choices), sum(len(message.content) for message in prompt))
        return [
            _event(
                prompt, choice, f"response.choices[{at}]", common | {"id": f"{own}#{name}" if name else own}
            )
            for at, (choice, name) in enumerate(zip(choices, _names(choices), strict=True))
        ]


def _common(
    request: Mapping[str, Any], response: Mapping[str, Any], payload: Any, timestamp: float | None
) -> dict[str, Any]:
    """What the choices of one response share."""
    subject = request.get("user")
    metadata = request.get("metadata")
    return {
        "id": _named(response.get("id") or payload.get("id")) or digest(payload),
        "ts": _moment(response.get("created"), timestamp),
        "model": _named(response.get("model")),
        "subject": _named(request.get("safety_identifier") if subject is None else subject),
        "tools": definitions(request.get("tools") or request.get("functions")),
        "tags": _tags(metadata) if isinstance(metadata, Mapping) else {},
        "truncated": response.get("status") == "incomplete",
    }


def _event(prompt: tuple[Message, ...], choice: Any, where: str, common: Mapping[str, Any]) -> Found:
    """What one choice is: a trace, or why it is none."""
    try:
        found = _answered(prompt, choice, where)
        if isinstance(found, Skipped):
            return found
        joined = {**common, **found, "tags": {**common["tags"], **found["tags"]}}
        joined["truncated"] |= common["truncated"]
        return Trace(**joined)
    except ValidationError as error:
        return DecodeError(f"`{where}`: {first_problem(error)}")
    except DecodeError as error:
        return error


def _answered(prompt: tuple[Message, ...], choice: Any, where: str) -> dict[str, Any] | Skipped:
    """The conversation, whether it is whole, and how it ended as a tag."""
    if not isinstance(choice, Mapping):
        raise DecodeError(f"`{where}` must be an object")
    finish, raw = choice.get("finish_reason"), choice.get("message")
    if choice.get("error") or finish == "error":
        return Skipped(SkipReason.ERROR)
    if raw is None and choice.get("delta") is not None:
        raise DecodeError(f"`{where}` holds a stream's `delta` and no `message`: {_ASSEMBLE}")
    output = () if raw is None else (_message(raw, f"{where}.message"),)
    silent = silence(output, finish)
    if silent is not None:
        return Skipped(silent)
    messages, answer = tied(prompt, output)
    return {
        "messages": messages,
        "output": answer,
        "tags": {"finish_reason": finish} if isinstance(finish, str) else {},
        "truncated": cut_off(output, finish),
        "unshown": hides(raw),
    }


def _message(raw: Any, where: str) -> Message:
    """A choice's message. Who said it is plain, whatever it is called."""
    if not isinstance(raw, Mapping):
        raise DecodeError(f"`{where}` must be an object")
    role = role_of(raw.get("role"))
    said = message_of({**raw, "role": role if role in _ROLES else "assistant"}, where)
    if said.role != "assistant":
        raise DecodeError(f"`{where}` is a message of the {said.role}, not the assistant's")
    return said


def _request(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    request = payload.get("request")
    if isinstance(request, str):
        raise DecodeError("`request` is text that holds JSON: log it as an object")
    if not isinstance(request, Mapping):
        raise DecodeError("`request` must be an object")
    return request


def _response(raw: Any) -> Mapping[str, Any]:
    if isinstance(raw, str):
        text = raw.lstrip()
        if text.startswith(("data:", "event:", "id:", ":")):
            raise DecodeError(f"`response` is a raw stream (SSE text): {_ASSEMBLE}")
        if text.startswith("{"):
            raise DecodeError("`response` is text that holds JSON: log it as an object")
    if isinstance(raw, list):
        raise DecodeError(f"`response` is a list of stream chunks: {_ASSEMBLE}")
    if not isinstance(raw, Mapping):
        raise DecodeError("`response` must be an object")
    if raw.get("object") == "chat.completion.chunk":
        raise DecodeError(f"the response is one chunk of a stream: {_ASSEMBLE}")
    return raw


def _choices(response: Mapping[str, Any]) -> list[Any]:
    choices = response.get("choices")
    if not isinstance(choices, list) or not choices:
        raise DecodeError("`response.choices` must be a list with at least one choice")
    return choices


def _bound(choices: int, prompt: int) -> None:
    """Refuses a record that would be stored many times over: each choice is a trace with the whole prompt."""
    if choices > MOST_CHOICES or (choices > 1 and choices * prompt > MOST_REPEATED):
        raise DecodeError(
            f"{choices} choices of a prompt of {prompt} characters: at most {MOST_CHOICES} choices, and "
            f"{MOST_REPEATED} characters of prompt over all of them"
        )


def _names(choices: Sequence[Any]) -> list[int]:
    """What tells the choices apart: their own index, or their place where those are not all different."""
    indices = [choice.get("index") if isinstance(choice, Mapping) else None for choice in choices]
    own = [
        index for index in indices if isinstance(index, int) and not isinstance(index, bool) and index >= 0
    ]
    return own if len(set(own)) == len(choices) else list(range(len(choices)))


def _unserved(payload: Mapping[str, Any]) -> bool:
    """Whether the call failed: an error in the response, in its place, or beside none."""
    response = payload.get("response")
    if response in (None, {}, ""):
        return bool(payload.get("error"))
    if not isinstance(response, Mapping) or response.get("choices"):
        return False
    return bool(response.get("error")) or "error" in (response.get("object"), response.get("type"))


def _error_alone(payload: Mapping[str, Any]) -> bool:
    """Whether it is an error response without its request."""
    error = payload.get("error")
    told = isinstance(error, Mapping) and bool(error.keys() & {"message", "type", "code"})
    return told and payload.keys() <= _OF_ERRORS


def _half(payload: Mapping[str, Any]) -> bool:
    """Whether it is a completion, or a piece of one, without its request."""
    kind = payload.get("object")
    return "request" not in payload and isinstance(kind, str) and kind.startswith("chat.completion")


def _whats_half(payload: Mapping[str, Any]) -> str:
    if payload["object"] == "chat.completion.chunk":
        return f"one chunk of a stream: {_ASSEMBLE} with its request"
    return 'a completion without its request: log {"request": …, "response": …}'


def _named(raw: Any) -> str | None:
    """An id or a name as text; None where there is none."""
    if raw is None or raw == "":
        return None
    text = _text(raw)
    return text if len(text) <= LONGEST else digest(text)


def _tags(raw: Mapping[str, Any]) -> dict[str, str]:
    return {key: _text(value) for key, value in raw.items() if value is not None}


def _text(raw: Any) -> str:
    return raw if isinstance(raw, str) else canonical(raw).decode()


def _moment(raw: Any, fallback: float | None) -> float:
    """The response's time; the transport's where it has none that can be read."""
    if fallback is None:
        return moment(raw, None)
    try:
        return moment(raw, fallback) or fallback
    except DecodeError:
        return fallback
