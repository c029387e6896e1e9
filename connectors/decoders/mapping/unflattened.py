"""Objects whose dotted keys stand for nested ones (`llm.input_messages.0.message.role`), made nested."""

from collections.abc import Mapping
from typing import Any

from connectors.decoders.mapping.paths import Path

LONGEST = 12
"""Parts of a key; one of more stays as it is."""
DEEPEST = 4
"""Lists within lists whose objects are looked at."""


def at(event: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The event with what is at the path made nested. The event itself stays as it is."""
    first, *rest = path.steps or ("",)
    if not path.steps:
        return _nested(event, 0)
    inside = event.get(first) if isinstance(first, str) else None
    if not isinstance(first, str) or not isinstance(inside, Mapping):
        return event
    return {**event, first: at(inside, Path(path.text, tuple(rest)))}


def _nested(raw: Mapping[str, Any], depth: int) -> dict[str, Any]:
    tree = _Node()
    for key, value in raw.items():
        parts = key.split(".")
        if len(parts) > LONGEST or not all(parts):
            parts = [key]
        if not tree.put(parts, _inside(value, depth)):
            tree.put([key], value)
    return {key: _plain(value) for key, value in tree.items()}


def _inside(value: Any, depth: int) -> Any:
    if not isinstance(value, list) or depth >= DEEPEST:
        return value
    return [_nested(each, depth + 1) if isinstance(each, Mapping) else each for each in value]


class _Node(dict[str, Any]):
    """An object that a dotted key made, which may turn out to be a list."""

    def put(self, parts: list[str], value: Any) -> bool:
        """False where another key has put something else in the way."""
        node = self
        for part in parts[:-1]:
            below = node.setdefault(part, _Node())
            if not isinstance(below, _Node):
                return False
            node = below
        if parts[-1] in node:
            return False
        node[parts[-1]] = value
        return True


def _plain(value: Any) -> Any:
    """Without nodes: one whose keys are all numbers is a list, in their order."""
    if not isinstance(value, _Node):
        return value
    if value and all(key.isascii() and key.isdecimal() for key in value):
        order = sorted(value, key=lambda key: (len(key.lstrip("0")), key.lstrip("0")))
        return [_plain(value[key]) for key in order]
    return {key: _plain(below) for key, below in value.items()}
