"""YAML files that people write: read strictly, so that a slip is a line and never a setting.

A file ends with YAML's document-end marker `...`. Cutting a YAML file anywhere usually leaves something that
still parses; the marker is what a cut-off file lacks. A key written twice is refused too, and so is a value
that is not written: what a template left empty must not be taken for `null`.

Size and depth are bounded before anything is built: libyaml, which is used where PyYAML has it, is some ten
times as fast as pure Python, and ends the process where a file is nested too deeply.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from daemon.errors import ConfigError

if TYPE_CHECKING:
    from yaml import SafeLoader as _Loader
else:
    _Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

LARGEST = 1 << 17
"""Characters. No file that people write is longer; reading stops here, also where a file has no end."""
DEEPEST = 32
"""Levels of nesting."""


def read_yaml(path: Path, *, largest: int = LARGEST) -> dict[str, Any]:
    """A YAML mapping from a file of at most `largest` characters that ends with `...`.

    Raises ConfigError, one line.
    """
    text = _whole(path, largest)
    try:
        _require_shallow(text)
        raw = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader that refuses doubled keys
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}:{where}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
    except ValueError as error:  # a date or number that has the form of one and is none
        raise ConfigError(f"{path}: {' '.join(str(error).split())}: put such a value in quotes") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: the file must be a mapping of keys")
    for key in raw:
        if not isinstance(key, str):
            raise ConfigError(f"{path}: {key!r}: a key must be a word")
    return raw


def _whole(path: Path, largest: int) -> str:
    """The text of a file that was not cut off."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(largest + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file: `rlaifd init` writes a first one") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from None
    if len(text) > largest:
        line = text.count("\n") + 1
        raise ConfigError(
            f"{path}: longer than {largest} characters, in line {line}: that is no file of ours"
        )
    if not text.rstrip().endswith("\n..."):
        raise ConfigError(f"{path}: does not end with a line `...`: the file was cut off, or add that line")
    return text


def _require_shallow(text: str) -> None:
    """Raises YAMLError where the text nests too deeply."""
    depth = 0
    for event in yaml.parse(text, Loader=_UniqueKeys):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise yaml.YAMLError(f"nested more than {DEEPEST} levels, too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _UniqueKeys(_Loader):
    """A safe loader that refuses a key written twice, where YAML would keep the last, and a value that is not
    written, where YAML would take it for `null`.
    """


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
    return node.tag == "tag:yaml.org,2002:null" and str(node.value).lower() != "null"


_UniqueKeys.add_constructor("tag:yaml.org,2002:null", _null)
_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
