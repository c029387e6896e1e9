"""A call of a model, in the shapes of OpenAI's chat interface, made into events.

Whatever format a log has, its decoder says what was asked and what was answered in these shapes; what becomes
of each answer is decided here, for all formats alike. Each choice stands for itself: a trace, skipped, or
refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from connectors.decoders.chat import (
    answer_of,
    cut_off,
    first_problem,
    hides,
    message_of,
    messages_of,
    role_of,
    silence,
)
from connectors.decoders.tools import definitions, tied
from connectors.errors import DecodeError
from connectors.events import Found, Skipped, SkipReason
from policies.records import Message, TokenUsage, Trace

MOST_CHOICES = 128
"""Choices of one response: as many as OpenAI's interface gives."""
MOST_REPEATED = 32 << 20
"""Characters that the prompt may come to, told anew with each choice."""
PLACEHOLDERS = frozenset({"redacted-by-litellm", "default-message-value", "__REDACTED__"})
"""What gateways and instrumentations write where the text is kept from the log, and nothing else is there."""
BROKE_OFF = "broke off before its end"

_AS_THEY_ARE = (
    "ts", "model", "adapter", "agent_version", "reference", "session", "subject", "usage", "truncated",
    "incomplete",
)  # fmt: skip
"""Fields that a trace has as the exchange has them."""
_ROLES = frozenset({"system", "user", "assistant", "tool"})


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was asked, and each answer to it.

    `messages` and `choices` are raw, in OpenAI's shapes, and `asked` and `answered` say where the log has
    them. `stream` says how the log has the pieces that the choices were put together from; None: it was no
    stream, and a choice needs no `finish_reason`. `model` is the one that answered, `requested` the name it
    was asked by. `usage` is that of the whole call. `incomplete`: what was asked is not all in the log.
    """

    messages: Any
    choices: Sequence[Any]
    id: str
    ts: float
    asked: str = "request.messages"
    answered: str = "response.choices[{}]"
    ending: str = "finish_reason"
    model: str | None = None
    requested: str | None = None
    adapter: str | None = None
    agent_version: str | None = None
    reference: str | None = None
    session: str | None = None
    subject: str | None = None
    tools: Any = None
    tags: Mapping[str, str] = field(default_factory=dict)
    truncated: bool = False
    incomplete: bool = False
    usage: TokenUsage | None = None
    stream: str | None = None


def events(exchange: Exchange, *, source: str) -> list[Found]:
    """One event a choice. Raises DecodeError naming what is wrong with all of them."""
    prompt = messages_of(exchange.messages, exchange.asked)
    for at, message in enumerate(prompt):
        _shown(message, f"{exchange.asked}[{at}]")
    choices = exchange.choices
    _bound(len(choices), sum(len(message.content) for message in prompt))
    common = {
        "source": source,
        "tools": definitions(exchange.tools),
        **{name: getattr(exchange, name) for name in _AS_THEY_ARE},
    }
    return [
        _event(
            exchange,
            prompt,
            choice,
            exchange.answered.format(at),
            common | {"id": f"{exchange.id}#{name}" if name else exchange.id},
        )
        for at, (choice, name) in enumerate(zip(choices, _names(choices), strict=True))
    ]


def _event(
    exchange: Exchange,
    prompt: tuple[Message, ...],
    choice: Any,
    where: str,
    common: Mapping[str, Any],
) -> Found:
    """What one choice is: a trace, or why it is none."""
    try:
        found = _answered(exchange, prompt, choice, where)
        if isinstance(found, Skipped):
            return found
        alias = {} if exchange.requested is None else {"requested_model": exchange.requested}
        joined = {**common, **found, "tags": {**alias, **exchange.tags, **found["tags"]}}
        joined["truncated"] |= common["truncated"]
        return Trace(**joined)
    except ValidationError as error:
        return DecodeError(f"`{where}`: {first_problem(error)}")
    except DecodeError as error:
        return error


def _answered(
    exchange: Exchange, prompt: tuple[Message, ...], choice: Any, where: str
) -> dict[str, Any] | Skipped:
    """The conversation, whether it is whole, and how it ended as a tag."""
    if not isinstance(choice, Mapping):
        raise DecodeError(f"`{where}` must be an object")
    finish, raw = choice.get("finish_reason"), choice.get("message")
    if choice.get("error") or finish == "error":
        return Skipped(SkipReason.ERROR)
    if raw is None and choice.get("delta") is not None:
        raise DecodeError(
            f"`{where}` holds a stream's `delta` and no `message`: log the assembled completion"
        )
    if exchange.stream is not None and not finish:
        raise DecodeError(
            f"`{where}` is of {exchange.stream} that {BROKE_OFF}: its `{exchange.ending}` never came"
        )
    output = _output(choice, where)
    silent = silence(output, finish)
    if silent is not None:
        return Skipped(silent)
    for message in output:
        _shown(message, f"{where}.message")
    messages, answer = tied(prompt, output)
    return {
        "messages": messages,
        "output": answer,
        "tags": {"finish_reason": finish} if isinstance(finish, str) else {},
        "truncated": cut_off(output, finish),
        "unshown": any(map(hides, _raw(choice))),
    }


def _output(choice: Mapping[str, Any], where: str) -> tuple[Message, ...]:
    """What the agent put out: one message, or the `messages` of several steps."""
    if "messages" in choice:
        return answer_of(choice["messages"], f"{where}.messages")
    raw = choice.get("message")
    return () if raw is None else (_message(raw, f"{where}.message"),)


def _raw(choice: Mapping[str, Any]) -> list[Any]:
    return choice["messages"] if "messages" in choice else [choice.get("message")]


def _message(raw: Any, where: str) -> Message:
    """A choice's message. Who said it is plain, whatever it is called."""
    if not isinstance(raw, Mapping):
        raise DecodeError(f"`{where}` must be an object")
    role = role_of(raw.get("role"))
    said = message_of({**raw, "role": role if role in _ROLES else "assistant"}, where)
    if said.role != "assistant":
        raise DecodeError(f"`{where}` is a message of the {said.role}, not the assistant's")
    return said


def _shown(message: Message, where: str) -> None:
    """Refuses what stands in place of a text: all such events would be one prompt, and one answer."""
    if message.content.strip() in PLACEHOLDERS:
        raise DecodeError(
            f"`{where}` is redacted ({message.content.strip()!r}): its content is not in the log"
        )


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
