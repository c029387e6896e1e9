"""Sampled tokens to a message: text, thought and tool calls apart.

What a model writes around its calls and thoughts is known per chat template: tokenizers may bring a response
template, TRL has those of well-known families, and two more are here. Which one fits an unknown chat template
is tried out on a call that the template itself renders. Where none fits, an answer is text, with a thought
between the usual tags set apart.
"""

import re
from collections.abc import Sequence
from typing import Any

from trl import chat_template_utils as known

from policies.records import Message, ToolCall
from policies.training.jobs import Messages, Tools
from policies.training.model.rendering import OPENED, Rendering, UnrenderableError

THOUGHT = re.compile(r"\s*(?:<think>)?(?P<thought>.*?)</think>(?P<rest>.*)\Z", re.DOTALL)
UNCLOSED = re.compile(r"\s*<think>(?P<thought>.*)\Z", re.DOTALL)

MISTRAL = {
    "defaults": {"role": "assistant"},
    "start_anchor_pattern": r"\[/INST\]|\[/TOOL_RESULTS\]",
    "fields": {
        "tool_calls": {
            "open_pattern": r"\[TOOL_CALLS\]\s*",
            "close_pattern": r"</s>\s*|$",
            "content": "json",
            "transform_each": True,
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{arguments}"}},
        },
        "content": {"close_pattern": r"</s>\s*|$", "content": "text"},
    },
}
"""Mistral's documented tool format: `[TOOL_CALLS] [{"name": …, "arguments": {…}, "id": …}]</s>`."""

DEEPSEEK = {
    "defaults": {"role": "assistant"},
    "start_anchor_pattern": "<\uff5cAssistant\uff5c>|<\uff5ctool▁outputs▁end\uff5c>",
    "fields": {
        "reasoning_content": {
            "open_pattern": r"<think>|(?=[\s\S]*?</think>)",
            "close_pattern": r"</think>\s*",
            "content": "text",
        },
        "tool_calls": {
            "open_pattern": (
                r"(?:<\uff5ctool▁calls▁begin\uff5c>)?\s*<\uff5ctool▁call▁begin\uff5c>function<\uff5ctool▁sep\uff5c>(?P<name>[^\n]+)\n```json\n"
            ),
            "close_pattern": r"\n```<\uff5ctool▁call▁end\uff5c>(?:<\uff5ctool▁calls▁end\uff5c>)?\s*",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
        },
        "content": {"close_pattern": r"<\uff5cend▁of▁sentence\uff5c>\s*|$", "content": "text"},
    },
}
"""DeepSeek's format, as its chat template writes it."""

RESPONSES = (
    known.qwen3_template,
    known.qwen3_5_template,
    known.llama3_template,
    known.gptoss_template,
    known.gemma4_template,
    known.glm4moe_template,
    known.nemotron_3_template,
    known.lfm2_2_5_template,
    MISTRAL,
    DEEPSEEK,
)

ASKED: Messages = (Message(role="user", content="Where is my order?"),)
TOOLS: Tools = (
    {
        "type": "function",
        "function": {
            "name": "find_order",
            "description": "Finds an order.",
            "parameters": {"type": "object", "properties": {"number": {"type": "string"}}},
        },
    },
)
CALL = Message(role="assistant", tool_calls=(ToolCall(name="find_order", arguments={"number": "A7"}),))
"""What the tool format is tried out on."""


class Responses:
    """Reads what a model answered under one rendering. `calls`: tool calls can be read back."""

    def __init__(self, rendering: Rendering) -> None:
        self._rendering = rendering
        self._tokenizer = rendering.tokenizer
        self._template = self._fitting()
        self.calls = self._template is not None and self._reads_back(self._template)

    def read(
        self, prompt: Sequence[int], tokens: Sequence[int], tools: Tools = (), *, truncated: bool = False
    ) -> Message:
        """The message that was sampled after the prompt. Never raises: what is no call stays text."""
        parsed = self._parsed(self._template, prompt, tokens, tools) if self._template else None
        return parsed or self._plain(prompt, tokens, truncated=truncated)

    def _fitting(self) -> dict[str, Any] | None:
        """The tokenizer's own response template, TRL's for its chat template, or the one that fits."""
        own = getattr(self._tokenizer, "response_template", None)
        if own is not None:
            return dict(own)
        try:
            known.add_response_schema(self._tokenizer)
        except ValueError:
            return next((each for each in RESPONSES if self._reads_back(each)), None)
        found: dict[str, Any] = self._tokenizer.response_template
        return found

    def _reads_back(self, template: dict[str, Any]) -> bool:
        """Whether the call that the chat template renders is read as that call."""
        try:
            (found,) = self._rendering.continuations(ASKED, [(CALL,)], TOOLS)
        except UnrenderableError:
            return False
        prompt = self._rendering.encode(found.prompt)
        tokens = [token for part in found.segments for token in self._rendering.encode_after(part.text)]
        read = self._parsed(template, prompt, tokens, TOOLS)
        return read is not None and read.tool_calls == CALL.tool_calls and not read.content.strip()

    def _parsed(
        self, template: dict[str, Any], prompt: Sequence[int], tokens: Sequence[int], tools: Tools
    ) -> Message | None:
        """The message as the template reads it; None where it cannot, or reads a call that is none."""
        try:
            found = self._tokenizer.parse_response(
                list(tokens), template, prefix=list(prompt), tools=[dict(tool) for tool in tools] or None
            )
            calls = tuple(_call(each) for each in found.get("tool_calls") or ())
            content = found.get("content") or ""
            reasoning = found.get("reasoning_content") or found.get("thinking") or ""
            return Message(
                role="assistant",
                content=content.removesuffix(self._tokenizer.eos_token or "").strip(),
                reasoning=reasoning.strip(),
                tool_calls=calls,
            )
        except (ValueError, TypeError, KeyError, AttributeError, LookupError):
            # Models write what they like: an unfinished call, arguments that are no JSON.
            return None

    def _plain(self, prompt: Sequence[int], tokens: Sequence[int], *, truncated: bool) -> Message:
        """The answer as text; a thought in tags, or one that the prompt opened, is set apart."""
        text = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        opened = OPENED.search(self._tokenizer.decode(list(prompt[-8:]))) is not None
        closed = THOUGHT.match(text) if opened or text.lstrip().startswith("<think>") else None
        if closed is not None:
            thought, text = closed["thought"], closed["rest"]
        elif truncated and (opened or UNCLOSED.match(text)):
            thought, text = UNCLOSED.sub(r"\g<thought>", text), ""
        else:
            thought = ""
        return Message(role="assistant", content=text.strip(), reasoning=thought.strip())


def _call(raw: Any) -> ToolCall:
    """Raises KeyError, TypeError or ValueError for what is no call."""
    inner = raw.get("function", raw)
    arguments = inner.get("arguments")
    if arguments is not None and not isinstance(arguments, dict):
        raise ValueError("arguments are no object")
    return ToolCall(name=inner["name"], arguments=arguments or {}, id=raw.get("id"))
