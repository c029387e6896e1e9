"""Paths into JSON: `trace.messages`, `runs[0].id`, `metadata["user.id"]`, `$.session` for the whole record.

A text that holds JSON is opened on the way: exports keep their long fields so.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.decoders import strict
from connectors.errors import DecodeError

_STEP = re.compile(
    r"""\.(?P<key>[^.\[\]"'\s|]+)|\[(?P<index>-?\d{1,6})\]|\[(?P<quote>["'])(?P<name>[^"']+)(?P=quote)\]"""
)
_ROOT = "$"


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path. `of_record`: it begins at the whole record and not at the event."""

    text: str
    steps: tuple[str | int, ...]
    of_record: bool = False

    def find(self, event: Any, record: Any) -> Any:
        """What is there, or None. Never raises."""
        here = record if self.of_record else event
        for step in self.steps:
            here = opened(here)
            if isinstance(step, str):
                here = here.get(step) if isinstance(here, Mapping) else None
            else:
                inside = isinstance(here, list) and -len(here) <= step < len(here)
                here = here[step] if inside else None
            if here is None:
                return None
        return here


def parsed(text: str) -> Path:
    """Raises ValueError with what is wrong."""
    of_record = text.startswith(_ROOT)
    rest = text.removeprefix(_ROOT) if of_record or text.startswith("[") else f".{text}"
    steps: list[str | int] = []
    at = 0
    while at < len(rest):
        found = _STEP.match(rest, at)
        if found is None:
            raise ValueError(f'{text!r} is no path: write it like a.b, a[0].b or a["b.c"]')
        steps.append(int(found["index"]) if found["index"] is not None else found["key"] or found["name"])
        at = found.end()
    return Path(text, tuple(steps), of_record)


def opened(value: Any) -> Any:
    """What a text of JSON holds; anything else as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return strict.parse(value)
    except DecodeError:
        return value
