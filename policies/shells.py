"""What models and servers put around an answer: a thought in tags, a fence, tokens that end a text.

A shell is taken off where what is left is the whole answer and nothing has to be guessed. What it held is
read as strictly as if it had come bare. Every step looks at a text a bounded number of times: replies of
newlines and of tags cost what their length costs.
"""

import re
from dataclasses import dataclass

TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
)
"""Around a thought at the head of a text."""

ENDS = (
    "</s>",
    "<eos>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|end|>",
    "<|return|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "<|endofturn|>",
    "<|EOT|>",
    "<|END_OF_TURN_TOKEN|>",
    "[EOS]",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
)
"""Tokens that end a text and that some servers leave in it."""
MOST_ENDS = 8
FENCE = "```"

_CHANNELS = ("<|channel|>", "<|start|>assistant")
_FINAL = re.compile(r"<\|channel\|>final(?: ?<\|constrain\|>\w{1,16}| \w{1,16})?<\|message\|>")


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """What was in the shell. `after_words`: others stood before it, so that it may be a quotation."""

    text: str
    after_words: bool = False


def unwrapped(text: str) -> Unwrapped:
    """The text without its shell; the text as it is, stripped, where it has none."""
    body = _without_ends(text.strip().removeprefix("\ufeff").lstrip())
    body = _final_channel(body)
    body, thought_aloud = _after_thought(body)
    body, said_before = _unfenced(body)
    return Unwrapped(body, thought_aloud or said_before)


def is_quoted(answer: str, case: str) -> bool:
    """Whether the answer stands in the case, however it is spaced there."""
    return "".join(answer.split()) in "".join(case.split())


def _without_ends(body: str) -> str:
    for _ in range(MOST_ENDS):
        end = next((each for each in ENDS if body.endswith(each)), None)
        if end is None:
            break
        body = body.removesuffix(end).rstrip()
    return body


def _final_channel(body: str) -> str:
    """What stands in the one final channel of a text that names its channels (gpt-oss)."""
    if not body.startswith(_CHANNELS):
        return body
    parts = _FINAL.split(body, maxsplit=2)
    return parts[1].strip() if len(parts) == 2 else body


def _after_thought(body: str) -> tuple[str, bool]:
    """What follows a leading thought, and False; or what follows the only closing tag of a text whose opening
    one the chat template wrote, and True: then nothing but the tag tells it from words.
    """
    for opening, closing in TAGS:
        if body.startswith(opening):
            _, closed, rest = body.partition(closing)
            return (rest.strip(), False) if closed else (body, False)
    if body.startswith(("{", FENCE)):
        return body, False
    for opening, closing in TAGS:
        if opening not in body and body.count(closing) == 1:
            return body.partition(closing)[2].strip(), True
    return body, False


def _unfenced(body: str) -> tuple[str, bool]:
    """The object in a fence that ends the text, and whether words stand before the fence."""
    if not body.endswith(FENCE) or len(body) < 2 * len(FENCE):
        return body, False
    inside = body.removesuffix(FENCE)
    before, fence, rest = inside.partition(FENCE)
    if not fence or (before and (FENCE in rest or not before.endswith("\n"))):
        return body, False
    word = rest[:4].casefold() == "json"
    found = (rest[4:] if word else rest).strip()
    return (found, bool(before)) if found.startswith("{") else (body, False)
