"""Prompt clusters, and the one split each belongs to.

A cluster is what people would call the same question. For now it is the digest of the normalised prompt:
Unicode compatibility form, case folded, every run of punctuation and space one space. The system message is
left out, so that a new system prompt (or the date in it) does not carry a question from one split to another.
Merging too much is harmless here, splitting too much would leak: normalisation errs on merging.
"""

import hashlib
import re
import unicodedata

from policies.policy import Splits
from policies.records import Message, Split, digest

_NOT_WORD = re.compile(r"[\W_]+")


def cluster_of(messages: tuple[Message, ...]) -> str:
    """Hex SHA-256 of the normalised prompt."""
    spoken = [message for message in messages if message.role != "system"] or list(messages)
    return digest([[message.role, _normal(_said(message))] for message in spoken])


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


def _said(message: Message) -> str:
    calls = (f"{call.name} {sorted(call.arguments.items(), key=str)}" for call in message.tool_calls)
    return " ".join((message.content, *calls))


def _normal(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NOT_WORD.sub(" ", folded).strip() or folded
