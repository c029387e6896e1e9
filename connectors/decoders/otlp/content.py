"""What a model was asked and what it answered, in whichever convention a span or an event has it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.decoders import strict
from connectors.decoders.chat import cut_off, hides, message_of, silence
from connectors.decoders.tools import tied
from connectors.errors import DecodeError
from connectors.events import SkipReason
from policies.records import Message

Raw = dict[str, Any]
"""A message as OpenAI's chat has it: what all conventions are brought to before they are read."""

CUT = "cut by an attribute length limit"
_LIMIT = "raise OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT (OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT) in the agent"
_PIECE = json.JSONDecoder().raw_decode
_BETWEEN = re.compile(r"[\s,]*")
_MOST_DIGITS = 6
_MOST_STEPS = 12

_REDACTED = frozenset({"__redacted__", "[redacted]", "<redacted>", "[filtered]"})
_SHORTENED = re.compile(r"<truncated due to size exceeding limit>|\(litellm_truncated \d+", re.IGNORECASE)
_MARKED = re.compile(r"[\[<(](?:[\w ]{0,20} )?truncated[^\[\]<>()]{0,60}[\]>)]\s*\Z", re.IGNORECASE)
_TAIL = 120


@dataclass(frozen=True, slots=True)
class Content:
    """A call's conversation. `choices` are further answers to the same prompt.

    `incomplete`: what the model was asked is not all here. `truncated` and `unshown` are as a trace has them.
    `silent` says why there is no answer in the output, if there is none.
    """

    messages: tuple[Message, ...] = ()
    output: tuple[Message, ...] = ()
    choices: tuple[tuple[Message, ...], ...] = ()
    finish: str | None = None
    incomplete: bool = False
    truncated: bool = False
    unshown: bool = False
    silent: SkipReason | None = None


def content_of(
    asked: Sequence[Raw], answered: Sequence[Raw], *, finish: Any, several: bool, incomplete: bool, where: str
) -> Content:
    """The conversation of raw messages. `several`: each message of the answer is one by itself.

    Raises DecodeError naming `where`.
    """
    prompt = messages_of(asked, f"{where} input")
    first = answered[:1] if several else answered
    output = messages_of(first, f"{where} output", role="assistant")
    other = next((message.role for message in output if message.role in {"system", "user"}), None)
    if other is not None:
        raise DecodeError(f"`{where} output` holds a message of the {other}, not the assistant's")
    ended = finish if isinstance(finish, str) else None
    silent = silence(output, ended) if answered else None
    others = [messages_of([each], f"{where} output", role="assistant") for each in answered[1:]] * several
    prompt, output = tied(prompt, output)
    return Content(
        messages=prompt,
        output=output,
        choices=tuple(tied(prompt, each)[1] for each in others if silence(each) is None),
        finish=ended,
        incomplete=incomplete or shortened((*prompt, *output)),
        truncated=cut_off(output, ended),
        unshown=any(map(hides, first)),
        silent=silent,
    )


def messages_of(raw: Sequence[Raw], where: str, *, role: str | None = None) -> tuple[Message, ...]:
    """Messages; the calls that an interface logs as messages of their own are those of the one before."""
    found: list[Message] = []
    for index, each in enumerate(raw):
        message = message_of(each, f"{where}[{index}]", role=role)
        before = found[-1] if found else None
        if before is not None and before.role == message.role == "assistant" and _belong(before, message):
            found[-1] = _together(before, message)
        else:
            found.append(message)
    return tuple(found)


def _belong(before: Message, message: Message) -> bool:
    """Whether two messages in a row are pieces of one: only one of them has words."""
    return not (before.content and message.content)


def _together(before: Message, message: Message) -> Message:
    return before.model_copy(
        update={
            "content": before.content or message.content,
            "reasoning": "\n".join(filter(None, (before.reasoning, message.reasoning))),
            "tool_calls": (*before.tool_calls, *message.tool_calls),
        }
    )


def shortened(messages: Sequence[Message]) -> bool:
    """Whether a logger left a sign where it took text away: then it is not what the model saw or said.

    What a tool marks as truncated is what the model saw of it.
    """
    for message in messages:
        text = message.content.strip()
        if text.lower() in _REDACTED or _SHORTENED.search(text):
            return True
        if message.role != "tool" and _MARKED.search(text[-_TAIL:]):
            return True
    return False


def listed(raw: Any, where: str, *, whole: bool) -> tuple[list[Any], bool]:
    """The items of an attribute that holds a list, as a value or as JSON text; and whether all are there.

    One that a limit cut off has its first items, unless `whole` asks for all: then, and where none is left,
    DecodeError is raised.
    """
    if not isinstance(raw, str):
        return (raw if isinstance(raw, list) else [raw] if isinstance(raw, Mapping) else []), True
    text = raw.strip()
    if not text.startswith(("[", "{")):
        raise DecodeError(f"`{where}` is no JSON list of messages")
    try:
        value = strict.parse(text)
    except DecodeError as error:
        items = [] if whole or not str(error).startswith("not JSON") else _begun(text)
        if items:
            return items, False
        why = f"{CUT}: {_LIMIT}" if str(error).startswith("not JSON") else str(error)
        raise DecodeError(f"`{where}` is {why}" if why.startswith(CUT) else f"`{where}`: {why}") from None
    return (value if isinstance(value, list) else [value]), True


def _begun(text: str) -> list[Any]:
    """The whole items at the beginning of a list that breaks off."""
    items: list[Any] = []
    at = 1 if text.startswith("[") else len(text)
    while at < len(text):
        between = _BETWEEN.match(text, at)
        assert between is not None
        try:
            item, at = _PIECE(text, between.end())
            strict.check(item)
        except (ValueError, RecursionError, DecodeError):
            break
        items.append(item)
    return items


def nested(attributes: Mapping[str, Any], prefix: str) -> list[Any]:
    """Attributes `PREFIX.N.a.b` as objects, by number. An object whose keys are numbers is a list."""
    tree: dict[str, Any] = {}
    for key, value in attributes.items():
        if not key.startswith(prefix):
            continue
        steps = key[len(prefix) :].split(".")
        if len(steps) <= _MOST_STEPS and _is_number(steps[0]):
            _hang(tree, steps, value)
    found = _listed(tree)
    return found if isinstance(found, list) else []


def _hang(tree: dict[str, Any], steps: Sequence[str], value: Any) -> None:
    here = tree
    for step in steps[:-1]:
        below = here.get(step)
        if not isinstance(below, dict):
            below = here[step] = {}
        here = below
    here.setdefault(steps[-1], value)


def _listed(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    if tree and all(map(_is_number, tree)):
        return [_listed(tree[key]) for key in sorted(tree, key=int)]
    return {key: _listed(value) for key, value in tree.items()}


def _is_number(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) <= _MOST_DIGITS
