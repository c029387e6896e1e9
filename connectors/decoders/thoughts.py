"""What a model thought before it answered, wherever a log has it: beside the text, among its parts, or in it.

OpenAI-compatible servers name it `reasoning_content` (DeepSeek, vLLM, SGLang), `reasoning` (OpenRouter, newer
vLLM) or `thinking` (Ollama, LiteLLM's blocks); without a reasoning parser the model's own tags stay in the
text.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

KEYS = ("reasoning_content", "reasoning", "thinking", "thinking_blocks", "reasoning_details")
"""Keys of a message that hold the thought. The first that has text counts: the others repeat it."""

PARTS = frozenset({"thinking", "reasoning", "reasoning_text", "redacted_thinking"})
"""Types of content parts that are thought."""

TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
)
"""Around the thought, as Qwen, DeepSeek and GLM, prompted models, Seed, Magistral and Kimi write it."""

_WORDS = ("text", "thinking", "reasoning", "summary", "content", "value")
_QUOTES = "`'\"“”"
_FENCE = "```"
_CLOSING = dict(TAGS)
_OPENING = re.compile(rf"\s*({'|'.join(re.escape(opening) for opening in _CLOSING)})")


class Parted(NamedTuple):
    """A text as thought and answer. Without a thought the answer is the text, unchanged."""

    thought: str
    answer: str


def beside(message: Mapping[str, Any]) -> str:
    """The thought that a message has in a key of its own, or ""."""
    return next((found for key in KEYS if (found := words(message.get(key)).strip())), "")


def is_thought(part: Any) -> bool:
    """Whether a content part is thought and no text."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    return isinstance(kind, str) and kind in PARTS


def words(value: Any) -> str:
    """The text somewhere in a value of a log: a string, an object that holds one, or a list of such."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return next((found for key in _WORDS if (found := words(value.get(key)))), "")
    if isinstance(value, list):
        return "\n".join(found for item in value if (found := words(item)))
    return ""


def parted(text: str) -> Parted:
    """Takes the thought off the beginning of an answer.

    A thought that was opened and never closed is all there is: the answer was cut off inside it. A closing
    tag without its opening ends a thought too: the chat template wrote the opening one into the prompt. Tags
    in quotes, or in a block of code, are what the answer talks about.
    """
    thoughts, end = _leading(text)
    if not end:
        thoughts, end = _orphan(text)
    return Parted(joined(thoughts), text[end:].lstrip()) if end else Parted("", text)


def joined(thoughts: Iterable[str]) -> str:
    """Several thoughts as one, each once and without the space around it."""
    return "\n".join(dict.fromkeys(found for each in thoughts if (found := each.strip())))


def _leading(text: str) -> tuple[list[str], int]:
    """The thoughts with which the text begins, and where they end; 0: it begins with none."""
    thoughts: list[str] = []
    end = 0
    while opened := _OPENING.match(text, end):
        start, closing = opened.end(), _CLOSING[opened[1]]
        closed = _closed(text, closing, start)
        if closed is None:
            return [*thoughts, text[start:]], len(text)
        thoughts.append(text[start:closed])
        end = closed + len(closing)
    return thoughts, end


def _orphan(text: str) -> tuple[list[str], int]:
    """The thought that ends in the text and began before it, and where it ends; 0: there is none."""
    for opening, closing in TAGS:
        closed = _closed(text, closing, 0)
        if closed is None or opening in text[:closed] or text.count(_FENCE, 0, closed) % 2:
            continue
        return [text[:closed]], closed + len(closing)
    return [], 0


def _closed(text: str, closing: str, start: int) -> int | None:
    """Where the first closing tag stands that is not in quotes."""
    at = text.find(closing, start)
    while at >= 0:
        around = text[max(0, at - 1) : at], text[at + len(closing) : at + len(closing) + 1]
        if not all(each and each in _QUOTES for each in around):
            return at
        at = text.find(closing, at + 1)
    return None
