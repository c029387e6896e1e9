"""YAML as people write it: read strictly, so that a slip is an error and never a setting.

Plain words are read as YAML 1.2's core schema has them (https://yaml.org/spec/1.2.2/, 10.3.2): `yes`, `on`,
`1:30`, `010` and `2026-01-01` are texts, where YAML 1.1 makes a truth, 90, 8 and a date of them. A key
written twice is refused, where YAML would keep the last, and so is a value that is not written: what a
template left empty must not be taken for `null`.

Depth is bounded before anything is built: libyaml, which is used where PyYAML has it, is some ten times as
fast as pure Python, and ends the process where a text is nested too deeply.
"""

import re
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from yaml import SafeLoader as _Loader
else:
    _Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

LARGEST = 1 << 17
"""Characters. No text that people write is longer."""
DEEPEST = 32
"""Levels of nesting."""
_TAG = "tag:yaml.org,2002:"


class StrictYamlError(ValueError):
    """The text is no YAML of ours. One line: where, where that is known, and what is wrong."""


def read(text: str, *, largest: int = LARGEST) -> Any:
    """What the text of at most `largest` characters says. Raises StrictYamlError."""
    if len(text) > largest:
        line = text.count("\n") + 1
        raise StrictYamlError(f"longer than {largest} characters, in line {line}: that is no file of ours")
    try:
        _require_shallow(text)
        return yaml.load(text, Loader=_Strict)  # noqa: S506 - a SafeLoader that refuses doubled keys
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise StrictYamlError(f"{where}{error.problem}") from None
    except yaml.YAMLError as error:
        raise StrictYamlError(" ".join(str(error).split())) from None
    except ValueError as error:  # a number that is too long to be one
        raise StrictYamlError(f"{' '.join(str(error).split())}: put such a value in quotes") from None


def _require_shallow(text: str) -> None:
    """Raises YAMLError where the text nests too deeply."""
    depth = 0
    for event in yaml.parse(text, Loader=_Strict):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise yaml.YAMLError(f"nested more than {DEEPEST} levels, too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Strict(_Loader):
    """A safe loader with the rules of this module."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's name


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is written twice", key_node.start_mark
            )
        seen.add(key)
        if _is_unwritten(value_node):
            problem = f"`{key}` has no value: write `null` if that is meant"
            raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=deep)


def _null(loader: yaml.SafeLoader, node: yaml.Node) -> None:
    del loader
    if _is_unwritten(node):
        problem = "no value: write `null` if that is meant"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _is_unwritten(node: yaml.Node) -> bool:
    """Whether a value is null without saying so: empty, or `~`."""
    return node.tag == f"{_TAG}null" and str(node.value).lower() != "null"


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text, base)


_Strict.add_constructor(f"{_TAG}null", _null)
_Strict.add_constructor(f"{_TAG}int", _integer)
_Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
for _name, _form, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:(?:[1-9][0-9]*|0)\.[0-9]*|\.[0-9]+|[1-9][0-9]*(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
        list("-+.0123456789"),
    ),
):
    _Strict.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"^(?:{_form})$"), _first)
