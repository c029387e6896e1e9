"""Anthropic's streamed messages: the events put together to the message that they are of."""

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.errors import DecodeError

_OWN = frozenset(
    {
        "message_start", "message_delta", "message_stop",
        "content_block_start", "content_block_delta", "content_block_stop",
    }
)  # fmt: skip
_LOOKED_AT = 16
"""Events at the beginning, of which one tells whose stream it is: pings may come first."""
_TEXTS = {"text_delta": ("text", "text"), "thinking_delta": ("thinking", "thinking")}
"""By the kind of a piece: the kind of its block, and the key of its text."""
_JSON = "input_json_delta"


def is_of(pieces: Sequence[Any]) -> bool:
    """Whether a stream's pieces are Anthropic's."""
    return any(_kind(piece) in _OWN for piece in pieces[:_LOOKED_AT])


def assembled(pieces: Sequence[Any], where: str) -> dict[str, Any]:
    """The message; without `stop_reason` where the stream broke off. Raises DecodeError."""
    told: dict[str, Any] = {"role": "assistant"}
    usage: dict[str, Any] = {}
    blocks: dict[int, _Block] = {}
    for at, piece in enumerate(pieces):
        if not isinstance(piece, Mapping):
            raise DecodeError(f"`{where}[{at}]` must be an object: an event of the stream")
        match piece.get("type"):
            case "message_start":
                message = _object(piece, "message")
                told |= {key: message[key] for key in ("id", "model") if key in message}
                usage |= _known(message)
            case "message_delta":
                told["stop_reason"] = _object(piece, "delta").get("stop_reason") or told.get("stop_reason")
                usage |= _known(piece)
            case "content_block_start":
                blocks[_index(piece)] = _Block(_object(piece, "content_block"))
            case "content_block_delta":
                blocks.setdefault(_index(piece), _Block({})).add(_object(piece, "delta"))
    return {**told, "usage": usage, "content": [blocks[index].whole() for index in sorted(blocks)]}


class _Block:
    """One block of the message, as far as it came."""

    def __init__(self, start: Mapping[str, Any]) -> None:
        self._start = dict(start)
        self._pieces: dict[str, list[str]] = {}

    def add(self, delta: Mapping[str, Any]) -> None:
        kind = delta.get("type")
        if kind == _JSON and isinstance(delta.get("partial_json"), str):
            self._pieces.setdefault("input", []).append(delta["partial_json"])
        elif isinstance(kind, str) and kind in _TEXTS:
            of, key = _TEXTS[kind]
            self._start.setdefault("type", of)
            if isinstance(delta.get(key), str):
                self._pieces.setdefault(key, []).append(delta[key])

    def whole(self) -> dict[str, Any]:
        made = dict(self._start)
        for key, pieces in self._pieces.items():
            begun = made.get(key)
            made[key] = (begun if isinstance(begun, str) else "") + "".join(pieces)
        return made


def _known(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of the usage: later events repeat some of it, and leave some out."""
    return {key: value for key, value in _object(raw, "usage").items() if value is not None}


def _object(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, Mapping) else {}


def _index(raw: Mapping[str, Any]) -> int:
    index = raw.get("index")
    return index if isinstance(index, int) and not isinstance(index, bool) and index >= 0 else 0


def _kind(raw: Any) -> Any:
    kind = raw.get("type") if isinstance(raw, Mapping) else None
    return kind if isinstance(kind, str) else None
