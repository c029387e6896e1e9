"""Prompt clusters, and the one split each belongs to.

A cluster is what people would call the same question. For now it is the digest of the normalised prompt:
Unicode compatibility form, case folded, every run of punctuation and space one space. The system message is
left out, so that a new system prompt (or the date in it) does not carry a question from one split to another.
Merging too much is harmless here, splitting too much would leak: normalisation errs on merging.

Strangers write prompts, so the cost is linear in their length. Putting combining marks into their canonical
order is quadratic in a run of them: as in Unicode's stream-safe text format (UAX #15, section 13) a run
counts up to its 30th mark. Of one message, the first `MOST_CHARACTERS` count.
"""

import hashlib
import re
import sys
import unicodedata
from functools import cache

from pydantic_core import to_json

from policies.policy import Splits
from policies.records import Message, Split

MOST_MARKS = 30
"""Combining marks in a row that count."""
MOST_CHARACTERS = 1 << 19
"""Characters of a message that count: about 130,000 tokens."""
_NOT_WORD = re.compile(r"[\W_]+")
_ASCII = bytes(code if chr(code).isalnum() and code < 128 else 32 for code in range(256)).lower()
"""What `normal` makes of each ASCII character: compatibility forms and marks there are none."""


def cluster_of(messages: tuple[Message, ...]) -> str:
    """Hex SHA-256 of the normalised prompt."""
    spoken = [message for message in messages if message.role != "system"] or list(messages)
    turns = [[message.role, normal(said(message))] for message in spoken]
    return hashlib.sha256(to_json(turns)).hexdigest()  # of texts alone it is what `canonical` writes


def split_of(cluster: str, splits: Splits) -> Split:
    """The split of a cluster: a hash of its name on the unit interval, cut by the shares in a fixed order."""
    point = unit("split", cluster)
    edge = 0.0
    for split in (Split.TRAIN, Split.CALIBRATE, Split.AUDIT):
        edge += float(getattr(splits, split.value))
        if point < edge:
            return split
    return Split.GATE if splits.gate > 0 else _last_with_a_share(splits)


def unit(purpose: str, name: str) -> float:
    """A number in [0, 1) that depends on purpose and name alone, uniform over names."""
    raw = hashlib.sha256(f"{purpose}\0{name}".encode()).digest()
    return int.from_bytes(raw[:8], "big") / 2.0**64 * (1 - 2.0**-53)


def _last_with_a_share(splits: Splits) -> Split:
    """Where rounding left the point beyond the last edge."""
    for split in (Split.AUDIT, Split.CALIBRATE):
        if getattr(splits, split.value) > 0:
            return split
    return Split.TRAIN


def said(message: Message) -> str:
    """A turn's text, with the calls that it makes."""
    if not message.tool_calls:
        return message.content
    calls = (f"{call.name} {sorted(call.arguments.items(), key=str)}" for call in message.tool_calls)
    return " ".join((message.content, *calls))


def normal(text: str) -> str:
    """Compatibility form, case folded, every run of what is no letter or digit one space; where nothing else
    would be left, with that.
    """
    if text.isascii():
        plain = b" ".join(text[:MOST_CHARACTERS].encode().translate(_ASCII).split()).decode()
        return plain or text[:MOST_CHARACTERS].lower()
    folded = unicodedata.normalize("NFKC", _stream_safe(text[:MOST_CHARACTERS])).casefold()
    return _NOT_WORD.sub(" ", folded).strip() or folded


def _stream_safe(text: str) -> str:
    """The text with every run of combining marks cut to `MOST_MARKS`."""
    return _long_runs().sub(lambda run: run[0][:MOST_MARKS], text)


@cache
def _long_runs() -> re.Pattern[str]:
    """More marks in a row than count. A mark is what decomposes to one, as a few letters do."""
    marks = (
        char
        for char in map(chr, range(0x80, sys.maxunicode + 1))
        if unicodedata.combining(char)
        or (unicodedata.decomposition(char) and unicodedata.combining(unicodedata.normalize("NFKD", char)[0]))
    )
    return re.compile(f"[{''.join(marks)}]{{{MOST_MARKS + 1},}}")
