"""Chat completions as a sampler asks for them and reads them.

The prompt goes out as the agent's own request had it: turns, names, tool calls with their arguments as text,
results, tool definitions. What was thought in earlier turns does not: servers differ in what they call it,
some refuse it (DeepSeek's API answers 400), and the chat templates of reasoning models drop it before the
last question anyway.
"""

import json
from collections.abc import Mapping
from typing import Any

from connectors.decoders.chat import UNPARSED, cut_off, hides, message_of
from connectors.decoders.tools import definitions, tied
from connectors.errors import DecodeError, PoisonError, TransientError
from connectors.refusals import refusal_of
from policies.records import Message, Sampled, ToolCall

BROKEN_OFF = frozenset({"error", "abort", "cancelled"})
"""How servers say that they, and not the model, ended an answer."""


class NothingSaidError(PoisonError):
    """The answer has neither text, call nor thought. It may say something when it is drawn again."""


def asking(prompt: tuple[Message, ...], tools: tuple[Mapping[str, Any], ...]) -> dict[str, Any]:
    """The part of a request that is the prompt's: its messages and tools."""
    messages, _ = tied(prompt)
    asked: dict[str, Any] = {"messages": [_as_dict(message) for message in messages]}
    return asked | ({"tools": list(definitions(tools))} if tools else {})


def answered(response: Mapping[str, Any], url: str) -> Sampled:
    """The answer as one message. One that was cut off before it said anything is empty and truncated.

    Raises TransientError where the response is no chat completion or broke off, NothingSaidError where it
    ended without a word, and PoisonError where it is withheld, cannot be read, or holds what is no text (the
    placeholder would be learnt): asked again, the server would say the same.
    """
    try:
        choice = response["choices"][0]
        message = choice["message"]
        finish = str(choice.get("finish_reason"))
    except (LookupError, TypeError, AttributeError):
        said = refusal_of(response["error"]).words() if response.get("error") else "it is no chat completion"
        raise TransientError(f"{url}: the response holds no answer: {said}") from None
    if finish in BROKEN_OFF:
        raise TransientError(f"{url}: the answer broke off (finish_reason {finish})")
    if finish == "content_filter":
        raise PoisonError(f"{url}: the answer was withheld (finish_reason content_filter)")
    if hides(message):
        raise PoisonError(f"{url}: the answer holds a part that is no text")
    answer = _message(message, url)
    truncated = cut_off([answer], finish)
    if not (truncated or answer.content or answer.tool_calls):
        raise NothingSaidError(f"{url}: the answer is empty (finish_reason {finish})")
    return Sampled(messages=(answer,), truncated=truncated)


def _message(raw: Any, url: str) -> Message:
    try:
        answer = message_of(raw, "choices[0].message", role="assistant")
    except DecodeError as error:
        raise PoisonError(f"{url}: the answer cannot be read: {error}") from None
    if answer.role != "assistant":
        raise PoisonError(f"{url}: the answer cannot be read: its role is {answer.role}")
    return answer


def _as_dict(message: Message) -> dict[str, Any]:
    shaped: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        shaped["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(call)},
            }
            for call in message.tool_calls
        ]
    named = {"tool_call_id": message.tool_call_id, "name": message.name}
    return shaped | {key: value for key, value in named.items() if value is not None}


def _arguments(call: ToolCall) -> str:
    """The arguments as the model wrote them: JSON text, or what was no JSON as it was."""
    raw = call.arguments.get(UNPARSED)
    if isinstance(raw, str) and len(call.arguments) == 1:
        return raw
    return json.dumps(call.arguments, ensure_ascii=False)
