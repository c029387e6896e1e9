"""Tools in a conversation: their definitions in one shape, and each result tied to the call it answers.

Models' chat templates and servers ask for more than logs hold: a definition wrapped as OpenAI's requests have
it, an id on every call and result, the tool's name on its result. What the log leaves to the order of the
messages is written down here, once.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from connectors.errors import DecodeError
from policies.records import Message, ToolCall

Messages = tuple[Message, ...]

_SCHEMAS = ("parameters", "input_schema", "inputSchema")
"""Under which a flat definition has its arguments' schema: OpenAI's, Anthropic's and MCP's key."""


def definitions(raw: Any) -> tuple[dict[str, Any], ...]:
    """Tool definitions in OpenAI's wrapped shape, `{"type": "function", "function": {"name": …}}`.

    A tool that is no function (a search that the provider runs itself) stays as it is. Raises DecodeError
    where the value is neither an object nor a list of objects.
    """
    if raw is None:
        return ()
    raw = [raw] if isinstance(raw, Mapping) else raw
    if not isinstance(raw, list | tuple) or not all(isinstance(each, Mapping) for each in raw):
        raise DecodeError("tools: must be a list of objects")
    return tuple(_wrapped(each) for each in raw)


def tied(prompt: Messages, output: Messages = ()) -> tuple[Messages, Messages]:
    """A conversation with an id on each call and result, and the tool's name on each result.

    A result without an id answers the oldest open call of the tool it names, of any tool where it names none
    that was called. A result that answers no call stays as it is, and so does every id that is there.
    """
    messages = (*prompt, *output)
    if not any(message.tool_calls or message.role == "tool" for message in messages):
        return prompt, output
    taken = {call.id for message in messages for call in message.tool_calls}
    taken |= {message.tool_call_id for message in messages}
    free = (name for name in map("call_{}".format, count()) if name not in taken)
    pending = _Pending()
    found: list[Message] = []
    for message in messages:
        if message.role == "tool":
            found.append(pending.answered_by(message))
        elif message.tool_calls:
            calls = tuple(_named(call, free) for call in message.tool_calls)
            pending.called(calls)
            whole = all(call.id for call in message.tool_calls)
            found.append(message if whole else message.model_copy(update={"tool_calls": calls}))
        else:
            found.append(message)
    return tuple(found[: len(prompt)]), tuple(found[len(prompt) :])


class _Pending:
    """The last message's calls that wait for their results. Every step costs constant time, all in all."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._open: set[str] = set()
        self._queues: dict[str | None, deque[str]] = {}

    def called(self, calls: Sequence[ToolCall]) -> None:
        self._open.clear()
        self._queues.clear()
        for call in calls:
            assert call.id is not None
            self._names[call.id] = call.name
            self._open.add(call.id)
            for key in (call.name, None):
                self._queues.setdefault(key, deque()).append(call.id)

    def answered_by(self, result: Message) -> Message:
        name = result.tool_call_id or self._oldest(result.name if result.name in self._queues else None)
        if name is None:
            return result
        self._open.discard(name)
        tool = result.name or self._names.get(name)
        return result.model_copy(update={"tool_call_id": name, "name": tool})

    def _oldest(self, tool: str | None) -> str | None:
        queue = self._queues.get(tool, deque())
        while queue:
            name = queue.popleft()
            if name in self._open:
                return name
        return None


def _named(call: ToolCall, free: Iterator[str]) -> ToolCall:
    return call if call.id else call.model_copy(update={"id": next(free)})


def _wrapped(raw: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(raw.get("function"), Mapping):
        return {**raw, "type": "function"}
    if not isinstance(raw.get("name"), str) or raw.get("type", "function") not in ("function", "custom"):
        return dict(raw)
    schema = next((raw[key] for key in _SCHEMAS if raw.get(key) is not None), None)
    kept = {key: value for key, value in raw.items() if key not in ("type", *_SCHEMAS)}
    return {"type": "function", "function": kept | ({} if schema is None else {"parameters": schema})}
