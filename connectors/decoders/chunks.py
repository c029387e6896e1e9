"""OpenAI's streamed chat completions: the pieces put together to the completion that they are of.

What servers differ in: a first piece without choices, a last one with nothing but usage, a role in every
piece or none, a call's id and name in its first piece or in each, pieces of several choices between each
other, calls without an index, and several calls under one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.errors import DecodeError

_TEXTS = ("content", "refusal", "reasoning_content", "reasoning", "thinking")


def assembled(pieces: Sequence[Any], where: str) -> dict[str, Any]:
    """The completion. A choice whose end never came has no `finish_reason`. Raises DecodeError."""
    choices: dict[int, _Choice] = {}
    told: dict[str, Any] = {}
    for at, piece in enumerate(pieces):
        if not isinstance(piece, Mapping):
            raise DecodeError(f"`{where}[{at}]` must be an object: a piece of the stream")
        for key in ("id", "created", "model"):
            if not told.get(key) and piece.get(key):
                told[key] = piece[key]
        if isinstance(piece.get("usage"), Mapping):
            told["usage"] = piece["usage"]
        given = piece.get("choices")
        for choice in given if isinstance(given, list) else ():
            if not isinstance(choice, Mapping):
                raise DecodeError(f"`{where}[{at}].choices` must hold objects")
            choices.setdefault(_index(choice.get("index")), _Choice()).add(choice)
    return {**told, "choices": [choices[index].whole(index) for index in sorted(choices)]}


class _Choice:
    """One choice of the stream, as far as it came."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._parts: list[Any] = []
        self._calls: list[_ToolCall] = []
        self._at: dict[int, _ToolCall] = {}
        self._function = _ToolCall()
        self._spoken: list[str] = []
        self._role: Any = None
        self._finish: Any = None
        self._error: Any = None

    def add(self, choice: Mapping[str, Any]) -> None:
        self._finish = choice.get("finish_reason") or self._finish
        self._error = choice.get("error") or self._error
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            return
        self._role = self._role or delta.get("role")
        for key in _TEXTS:
            if isinstance(delta.get(key), str):
                self._texts.setdefault(key, []).append(delta[key])
        if isinstance(delta.get("content"), list):
            self._parts.extend(delta["content"])
        audio = delta.get("audio")
        if isinstance(audio, Mapping) and isinstance(audio.get("transcript"), str):
            self._spoken.append(audio["transcript"])
        if isinstance(delta.get("function_call"), Mapping):
            self._function.add({"function": delta["function_call"]})
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, Mapping):
                self._call_of(call).add(call)

    def whole(self, index: int) -> dict[str, Any]:
        """As a completion has it."""
        message: dict[str, Any] = {"role": self._role, **{k: "".join(v) for k, v in self._texts.items()}}
        if self._parts:
            message["content"] = [*_merged(self._parts), *filter(None, [message.get("content")])]
        if self._calls:
            message["tool_calls"] = [call.whole() for call in self._calls]
        if self._function.named:
            message["function_call"] = self._function.whole()["function"]
        if self._spoken:
            message["audio"] = {"transcript": "".join(self._spoken)}
        made = {"index": index, "finish_reason": self._finish, "message": message}
        return made if self._error is None else {**made, "error": self._error}

    def _call_of(self, piece: Mapping[str, Any]) -> "_ToolCall":
        """The call that a piece goes on with, or a new one."""
        index, own = piece.get("index"), piece.get("id")
        known = self._at.get(_index(index)) if index is not None else self._calls[-1] if self._calls else None
        if known is None or (own and known.id and own != known.id):
            known = _ToolCall()
            self._calls.append(known)
        if index is not None:
            self._at[_index(index)] = known
        return known


class _ToolCall:
    def __init__(self) -> None:
        self.id: Any = None
        self._name: Any = None
        self._arguments: list[str] = []
        self._object: Any = None

    @property
    def named(self) -> bool:
        return bool(self._name)

    def add(self, piece: Mapping[str, Any]) -> None:
        self.id = self.id or piece.get("id")
        inner = piece.get("function")
        inner = inner if isinstance(inner, Mapping) else {}
        self._name = self._name or inner.get("name")
        given = inner.get("arguments")
        if isinstance(given, str):
            self._arguments.append(given)
        elif given is not None:
            self._object = given

    def whole(self) -> dict[str, Any]:
        arguments = "".join(self._arguments) if self._object is None else self._object
        return {"id": self.id, "function": {"name": self._name, "arguments": arguments}}


def _merged(parts: Sequence[Any]) -> list[Any]:
    """Parts with pieces of one text in a row as one: a piece of a word is no line."""
    found: list[Any] = []
    texts: list[str] = []
    for part in parts:
        text = part if isinstance(part, str) else _plain(part)
        if text is None:
            found += ["".join(texts)] if texts else []
            found.append(part)
            texts = []
        else:
            texts.append(text)
    return [*found, "".join(texts)] if texts else found


def _plain(part: Any) -> str | None:
    known = isinstance(part, Mapping) and part.get("type") in ("text", "output_text")
    text = part.get("text") if known else None
    return text if isinstance(text, str) else None


def _index(raw: Any) -> int:
    return raw if isinstance(raw, int) and not isinstance(raw, bool) and raw >= 0 else 0
