"""Messages to tokens: what is trained on, and what is only context.

A message list is rendered by the tokenizer's own chat template, else by a plain one. Of a completion only the
assistant's messages are trained on; tool results inside it are context, like everything in the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from policies.records import Message
from policies.snapshot import Pair
from policies.training.jobs import Messages, Tools

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@dataclass(frozen=True, slots=True)
class Example:
    """One pair as tokens. A mask is 1 where the token is the assistant's own."""

    prompt: list[int]
    chosen: list[int]
    chosen_mask: list[int]
    rejected: list[int]
    rejected_mask: list[int]
    weight: float
    soft: float

    @property
    def length(self) -> int:
        """Tokens of the longer of its two sequences."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True, slots=True)
class Prepared:
    """The pairs that can be learned from, and how many could not."""

    examples: list[Example]
    identical: int
    too_long: int
    unfit: int = 0


def prepare(pairs: Sequence[Pair], tokenizer: Any, max_length: int) -> Prepared:
    """Tokenises the pairs. Those with equal answers, those longer than `max_length`, and those whose messages
    the chat template refuses, are counted out.
    """
    examples: list[Example] = []
    identical = too_long = unfit = 0
    for pair in pairs:
        try:
            example = tokenise(pair, tokenizer)
        except TemplateError:
            unfit += 1
            continue
        if example.chosen == example.rejected:
            identical += 1
        elif example.length > max_length:
            too_long += 1
        else:
            examples.append(example)
    return Prepared(examples, identical, too_long, unfit)


def tokenise(pair: Pair, tokenizer: Any) -> Example:
    """One pair as tokens.

    The completion starts where prompt and prompt with answer part: some templates render the prompt alone
    differently, and both answers must share one context. Raises TemplateError.
    """
    messages = fitted(tokenizer, pair.prompt, pair.tools)
    prompt = render(tokenizer, messages, pair.tools, ask=True)
    chosen, chosen_mask = _completion(tokenizer, messages, pair.chosen, pair.tools)
    rejected, rejected_mask = _completion(tokenizer, messages, pair.rejected, pair.tools)
    start = min(_shared(prompt, chosen), _shared(prompt, rejected))
    return Example(
        prompt=prompt[:start],
        chosen=chosen[start:],
        chosen_mask=chosen_mask[start:],
        rejected=rejected[start:],
        rejected_mask=rejected_mask[start:],
        weight=pair.weight,
        soft=pair.soft,
    )


def question(tokenizer: Any, messages: Messages, tools: Tools = ()) -> list[int]:
    """The tokens of a prompt that is to be answered.

    Logs are anybody's: a prompt that the chat template refuses is asked by the plain one, and costs the
    others nothing.
    """
    try:
        return render(tokenizer, fitted(tokenizer, messages, tools), tools, ask=True)
    except TemplateError:
        return render(tokenizer, messages, tools, ask=True, template=PLAIN_TEMPLATE)


def fitted(tokenizer: Any, messages: Messages, tools: Tools = ()) -> Messages:
    """The messages as the chat template takes them: where it has no system role, that text opens the first
    user message.
    """
    try:
        render(tokenizer, messages, tools, ask=True)
    except TemplateError:
        return _without_system(messages)
    return messages


def _without_system(messages: Messages) -> Messages:
    told = [message.content for message in messages if message.role == "system"]
    rest = [message for message in messages if message.role != "system"]
    first = next((index for index, message in enumerate(rest) if message.role == "user"), None)
    if not told or first is None:
        return messages
    rest[first] = rest[first].model_copy(update={"content": "\n\n".join([*told, rest[first].content])})
    return tuple(rest)


def render(
    tokenizer: Any, messages: Messages, tools: Tools = (), *, ask: bool, template: str | None = None
) -> list[int]:
    """The tokens of a conversation; with `ask` it ends where the assistant's answer begins.

    Raises TemplateError where the template refuses the messages.
    """
    return list(
        tokenizer.apply_chat_template(
            [_as_dict(message) for message in messages],
            tools=list(tools) or None,
            chat_template=template or (None if tokenizer.chat_template else PLAIN_TEMPLATE),
            add_generation_prompt=ask,
            tokenize=True,
            return_dict=False,
        )
    )


def _completion(
    tokenizer: Any, prompt: Messages, completion: Messages, tools: Tools
) -> tuple[list[int], list[int]]:
    """Tokens of prompt and completion together, and the mask of those the assistant wrote."""
    whole = render(tokenizer, prompt + completion, tools, ask=False)
    mask = [0] * len(whole)
    for index, message in enumerate(completion):
        if message.role != "assistant":
            continue
        before = render(tokenizer, prompt + completion[:index], tools, ask=True)
        last = index == len(completion) - 1
        after = whole if last else render(tokenizer, prompt + completion[: index + 1], tools, ask=False)
        for position in range(_shared(before, whole), _shared(after, whole)):
            mask[position] = 1
    return whole, mask


def _shared(first: list[int], second: list[int]) -> int:
    """Length of the common beginning."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count


def _as_dict(message: Message) -> dict[str, Any]:
    """A message in the shape that chat templates expect, tool arguments as objects."""
    shaped: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        shaped["tool_calls"] = [
            {
                "type": "function",
                "id": call.id,
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        shaped["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        shaped["name"] = message.name
    return shaped
