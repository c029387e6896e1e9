"""Messages to tokens: what is trained on, and what is only context.

A message list is rendered by the tokenizer's own chat template, else by a plain one. Of a completion only the
assistant's messages are trained on; tool results inside it are context, like everything in the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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


def prepare(pairs: Sequence[Pair], tokenizer: Any, max_length: int) -> Prepared:
    """Tokenises the pairs. Those with equal answers, and those longer than `max_length`, are counted out."""
    examples: list[Example] = []
    identical = too_long = 0
    for pair in pairs:
        example = tokenise(pair, tokenizer)
        if example.chosen == example.rejected:
            identical += 1
        elif example.length > max_length:
            too_long += 1
        else:
            examples.append(example)
    return Prepared(examples, identical, too_long)


def tokenise(pair: Pair, tokenizer: Any) -> Example:
    """One pair as tokens.

    The completion starts where prompt and prompt with answer part: some templates render the prompt alone
    differently, and both answers must share one context.
    """
    prompt = render(tokenizer, pair.prompt, pair.tools, ask=True)
    chosen, chosen_mask = _completion(tokenizer, pair.prompt, pair.chosen, pair.tools)
    rejected, rejected_mask = _completion(tokenizer, pair.prompt, pair.rejected, pair.tools)
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


def render(tokenizer: Any, messages: Messages, tools: Tools = (), *, ask: bool) -> list[int]:
    """The tokens of a conversation; with `ask` it ends where the assistant's answer begins."""
    return list(
        tokenizer.apply_chat_template(
            [_as_dict(message) for message in messages],
            tools=list(tools) or None,
            chat_template=None if tokenizer.chat_template else PLAIN_TEMPLATE,
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
