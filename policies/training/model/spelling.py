"""How a conversation is spelled for a chat template. Free of torch.

Templates differ in what they take: tool arguments as objects or as JSON text, ids of nine characters, one
call a turn, no system role. A `Spelling` says what is changed; `SPELLINGS` has them all, the least changed
first.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from policies.records import Message
from policies.training.jobs import Messages

Turn = dict[str, Any]
"""A message in the shape that chat templates expect: OpenAI's."""

ID_LENGTH = 9
"""Characters of a tool call's id where a template is strict about them (Mistral's)."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """What is changed of the messages for the template's sake."""

    text_arguments: bool = False
    """Tool arguments as JSON text, as OpenAI's own format has them and DeepSeek's templates want them."""
    short_ids: bool = False
    """Ids of tool calls as nine letters and digits, made from the logged ones."""
    single_calls: bool = False
    """Parallel calls one after the other, each with its result."""
    no_system: bool = False
    """The system text opens the first user message."""
    no_reasoning: bool = False
    """Without the thoughts of earlier turns."""

    def turns(self, messages: Messages) -> list[Turn]:
        """The messages as the template gets them."""
        if self.no_system:
            messages = without_system(messages)
        if self.single_calls:
            messages = tuple(_one_call_a_turn(messages))
        if self.short_ids:
            messages = _with_short_ids(messages)
        return [self._turn(message) for message in messages]

    def _turn(self, message: Message) -> Turn:
        turn: Turn = {"role": message.role, "content": message.content}
        if message.tool_calls:
            turn["tool_calls"] = [
                {
                    "type": "function",
                    "id": call.id,
                    "function": {"name": call.name, "arguments": self._arguments(call.arguments)},
                }
                for call in message.tool_calls
            ]
        if message.reasoning and not self.no_reasoning:
            # Two names for one thing: templates read either.
            turn |= {"reasoning_content": message.reasoning, "thinking": message.reasoning}
        if message.tool_call_id is not None:
            turn["tool_call_id"] = message.tool_call_id
        if message.name is not None:
            turn["name"] = message.name
        return turn

    def _arguments(self, arguments: dict[str, Any]) -> Any:
        return json.dumps(arguments, ensure_ascii=False) if self.text_arguments else arguments


SPELLINGS = tuple(
    sorted(
        (Spelling(*flags) for flags in product((False, True), repeat=5)),
        key=lambda each: (each.no_reasoning, each.no_system, each.single_calls, each.short_ids),
    )
)


def without_system(messages: Messages) -> Messages:
    """The messages with the system's text at the head of the first user message, where there is one."""
    told = [message.content for message in messages if message.role == "system"]
    rest = [message for message in messages if message.role != "system"]
    first = next((index for index, message in enumerate(rest) if message.role == "user"), None)
    if not told or first is None:
        return messages
    rest[first] = rest[first].model_copy(update={"content": "\n\n".join([*told, rest[first].content])})
    return tuple(rest)


def _one_call_a_turn(messages: Messages) -> Iterator[Message]:
    """Calls that were made at once as if made in turn; results go to their calls, by id, else in order."""
    at = 0
    while at < len(messages):
        message = messages[at]
        at += 1
        if len(message.tool_calls) < 2:
            yield message
            continue
        results: list[Message] = []
        while at < len(messages) and messages[at].role == "tool":
            results.append(messages[at])
            at += 1
        for index, call in enumerate(message.tool_calls):
            first = {} if index == 0 else {"content": "", "reasoning": ""}
            yield message.model_copy(update={"tool_calls": (call,), **first})
            yield from _taken(results, call.id)
        yield from results


def _taken(results: list[Message], call_id: str | None) -> Iterator[Message]:
    """The result that belongs to a call, taken out of the list."""
    own = next(
        (each for each in results if call_id is not None and each.tool_call_id == call_id),
        next((each for each in results if each.tool_call_id is None), None),
    )
    if own is not None:
        results.remove(own)
        yield own


def _with_short_ids(messages: Messages) -> Messages:
    """Every call and result with an id of nine characters; calls and results without one are numbered."""
    spelled: list[Message] = []
    waiting: list[str] = []
    for number, message in enumerate(messages):
        if message.tool_calls:
            ids = [_short(call.id or f"{number}.{index}") for index, call in enumerate(message.tool_calls)]
            calls = tuple(
                call.model_copy(update={"id": each})
                for call, each in zip(message.tool_calls, ids, strict=True)
            )
            spelled.append(message.model_copy(update={"tool_calls": calls}))
            waiting = ids
        elif message.role == "tool":
            own = _short(message.tool_call_id) if message.tool_call_id else _next(waiting, number)
            waiting = [each for each in waiting if each != own]
            spelled.append(message.model_copy(update={"tool_call_id": own}))
        else:
            spelled.append(message)
    return tuple(spelled)


def _next(waiting: Sequence[str], number: int) -> str:
    return waiting[0] if waiting else _short(f"result {number}")


def _short(name: str) -> str:
    if len(name) == ID_LENGTH and name.isalnum() and name.isascii():
        return name
    return hashlib.sha256(name.encode()).hexdigest()[:ID_LENGTH]
