"""Billable tokens as responses state them, each by itself: what is missing or no number is estimated."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from connectors.errors import ConnectorError, Received

CHARS_PER_TOKEN = 3
"""For what is not reported: rather more tokens than fewer, as money is counted by them."""
MOST = 10**8
"""More tokens than any call has: beyond it, it is no number of tokens."""


def tokens(value: object) -> int | None:
    """A number of tokens; None for what is none."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not math.isfinite(value) or not 0 <= value <= MOST:
        return None
    return math.ceil(value)


def summed(usage: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """The sum of those that are stated; None where none is."""
    found = [count for name in names if (count := tokens(usage.get(name))) is not None]
    return sum(found) if found else None


def estimated(characters: int) -> int:
    """Tokens of a text of which nobody says how many it has."""
    return characters // CHARS_PER_TOKEN + 1


def served(error: ConnectorError, body: Any, read: int | None, written: int | None) -> ConnectorError:
    """The error with what was served all the same, and what that bills."""
    kept = error.received.body if error.received is not None else body
    return error.having(Received(kept, served=True, input_tokens=read, output_tokens=written))
