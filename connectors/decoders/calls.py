"""A logged call of a model: its request and its response, wherever a record has them.

`{"request": …, "response": …}`, each an object, JSON text, or an HTTP message with either under `body`; the
whole under `body`; or the request's own keys with the `response` beside them. A response may be a stream
that nobody assembled: a list of its pieces, or the raw text of server-sent events.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from connectors.decoders import eventstream, strict
from connectors.errors import DecodeError
from connectors.events import Skipped, SkipReason

_OF_A_CALL = frozenset({"messages", "input", "choices", "content", "output", "object", "type", "prompt"})
"""Keys by which an object is a request or a response itself, and no envelope of one."""
_SHORT = ("messages", "input")
_OF_ERRORS = frozenset(
    {"error", "id", "request_id", "object", "type", "created", "model", "status", "status_code", "code"}
)
"""Keys of an error response that stands alone."""
_LEAST_FAILED = 400
_RAW, _LISTED = "a raw stream (SSE text)", "a list of stream chunks"
"""How a log has a stream that nobody assembled."""


class Body(NamedTuple):
    """What was in an envelope: the value, how a stream was logged (None: it is none), the HTTP status."""

    value: Any
    stream: str | None = None
    status: int | None = None


class Call(NamedTuple):
    """`response` is an object, a list of a stream's pieces with `stream` saying how they were logged, text,
    or None. `around` is the record.
    """

    request: Mapping[str, Any]
    response: Any
    stream: str | None
    failed: bool
    answered: bool
    around: Mapping[str, Any]

    @property
    def empty(self) -> bool:
        return self.response in (None, {}, "", [])

    @property
    def pieces(self) -> list[Any]:
        """The pieces of its stream; none where it is none."""
        return self.response if self.stream is not None and isinstance(self.response, list) else []


def call_of(payload: Any) -> Call | None:
    """The call in a record; None where it is no pair. Raises DecodeError for a body that cannot be read."""
    if not isinstance(payload, Mapping):
        return None
    around = payload
    if "body" in payload and "request" not in payload and "response" not in payload:
        inside = _opened(payload["body"], "body").value
        around = inside if isinstance(inside, Mapping) else payload
    if "request" in around:
        request = _opened(around["request"], "request")
        if not isinstance(request.value, Mapping):
            return None
        given = request.value
    elif "response" in around and any(key in around for key in _SHORT):
        given = {key: value for key, value in around.items() if key != "response"}
    else:
        return None
    response = _opened(around.get("response"), "response")
    failed = response.status is not None and response.status >= _LEAST_FAILED
    return Call(
        given,
        response.value,
        response.stream,
        failed or _failed(response, around),
        "response" in around,
        around,
    )


def error_alone(payload: Mapping[str, Any]) -> bool:
    """Whether it is an error response without its request."""
    error = payload.get("error")
    told = isinstance(error, Mapping) and bool(error.keys() & {"message", "type", "code"})
    return told and payload.keys() <= _OF_ERRORS


def _failed(response: Body, around: Mapping[str, Any]) -> bool:
    """Whether the call failed: an error in the response, in its place, or beside none."""
    value = response.value
    if value in (None, {}, "", []):
        return bool(around.get("error"))
    if response.stream is not None:
        return any(_is_error(piece) for piece in value)
    return isinstance(value, Mapping) and not value.get("choices") and _is_error(value)


def _is_error(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    return bool(value.get("error")) or "error" in (value.get("object"), value.get("type"))


def _opened(raw: Any, where: str) -> Body:
    """A body out of its envelopes, of which there are two at most: an HTTP message, and text."""
    status = None
    if isinstance(raw, Mapping) and "body" in raw and not raw.keys() & _OF_A_CALL:
        status, raw, where = _status(raw), raw["body"], f"{where}.body"
    if isinstance(raw, str):
        if eventstream.is_stream(raw):
            return Body(eventstream.events(raw, where), _RAW, status)
        raw = _parsed(raw, where) if raw.lstrip().startswith(("{", "[")) else raw.strip()
    if isinstance(raw, list):
        return _listed(raw, where, status)
    return Body(raw, None, status)


def _listed(raw: list[Any], where: str, status: int | None) -> Body:
    """A stream as a list: of its pieces, of their JSON, or of the lines in which they came."""
    if raw and all(isinstance(each, str) for each in raw):
        told = eventstream.is_stream(raw[0])
        text = "\n\n".join(raw if told else (f"data: {each}" for each in raw))
        return Body(eventstream.events(text, where), _LISTED, status)
    if len(raw) == 1 and isinstance(raw[0], Mapping) and raw[0].get("object") == "chat.completion":
        return Body(raw[0], None, status)
    return Body(raw, _LISTED, status)


def _parsed(text: str, where: str) -> Any:
    try:
        return strict.parse(text)
    except DecodeError as error:
        raise DecodeError(f"`{where}` is text that holds JSON and cannot be read: {error}") from None


def _status(raw: Mapping[str, Any]) -> int | None:
    for key in ("status_code", "status", "statusCode"):
        value = raw.get(key)
        if isinstance(value, int | str) and str(value).isdecimal() and len(str(value)) == len("200"):
            return int(value)
    return None


def answered(payload: dict[str, Any]) -> Call | Skipped:
    """The call that a record of a pair holds, with its answer, or why nothing is to be read. Raises
    DecodeError where one of the two is missing.
    """
    call = call_of(payload)
    if call is None:
        raise DecodeError("`request` must be an object")
    if call.failed:
        return Skipped(SkipReason.ERROR)
    if not call.answered:
        raise DecodeError('a request without its response: log {"request": …, "response": …}')
    return Skipped(SkipReason.EMPTY) if call.empty else call
