"""The raw text of gpt-oss, where a server did not parse its channels.

OpenAI's harmony format: `<|channel|>analysis<|message|>…<|end|>` is thought, the channel `commentary` with a
recipient (`to=functions.NAME`) a tool call, everything else the answer. Decoded without its special tokens it
reads `analysis…assistantfinal…`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from connectors.decoders.thoughts import joined

_CHANNEL, _MESSAGE = "<|channel|>", "<|message|>"
_END = re.compile(r"<\|(?:end|return|call|start)\|>")
_BARE = re.compile(r"(?:\A\s*|assistant)(analysis|commentary|final)(?=\S| to=)")
_BARE_START = re.compile(r"\s*analysis(?=[A-Z])")
_RECIPIENT = re.compile(r"to=(?:functions\.)?([\w.-]+)")
_BARE_CALL = re.compile(r" to=(?:functions\.)?([\w.-]+)(?: ?(?:<\|constrain\|>)?json)?\s*")


@dataclass(frozen=True, slots=True)
class Channels:
    """What a text's channels hold. `calls` are (name, arguments as text)."""

    thought: str
    answer: str
    calls: tuple[tuple[str, str], ...] = ()


def channels(text: str) -> Channels | None:
    """The text by its channels; None where it has none."""
    if text.lstrip().startswith((_CHANNEL, "<|start|>assistant")) and _CHANNEL in text:
        found = list(_marked(text))
    elif _BARE_START.match(text):
        found = list(_bare(text))
    else:
        return None
    return Channels(
        thought=joined(body for channel, to, body in found if channel == "analysis" and not to),
        answer="\n".join(body.strip() for channel, to, body in found if channel != "analysis" and not to),
        calls=tuple((to, body.strip()) for _, to, body in found if to),
    )


def _marked(text: str) -> Iterator[tuple[str, str, str]]:
    """Channel, recipient and body of each message, by the format's own tokens."""
    before, *parts = text.split(_CHANNEL)
    for part in parts:
        head, _, body = part.partition(_MESSAGE)
        body, *after = _END.split(body, maxsplit=1)
        recipient = _RECIPIENT.search(head) or _RECIPIENT.search(before)
        yield head.split(" ", 1)[0].split("<", 1)[0].strip(), recipient[1] if recipient else "", body
        before = after[0] if after else ""


def _bare(text: str) -> Iterator[tuple[str, str, str]]:
    """The same, where the tokens are gone and only the words between them are left."""
    heads = list(_BARE.finditer(text))
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        body = text[head.end() : following.start() if following else len(text)]
        call = _BARE_CALL.match(body) if head[1] == "commentary" else None
        yield head[1], call[1] if call else "", body[call.end() :] if call else body
