"""YAML files that people write: read strictly, so that a slip is a line and never a setting.

A file ends with YAML's document-end marker `...`. Cutting a YAML file anywhere usually leaves something that
still parses; the marker is what a cut-off file lacks. A key written twice is refused too.
"""

from pathlib import Path
from typing import Any

import yaml

from daemon.errors import ConfigError

LARGEST = 1 << 20
"""Characters. No file that people write is longer; reading stops here, also where a file has no end."""


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file that ends with `...`. Raises ConfigError, one line."""
    text = _whole(path)
    try:
        raw = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader that refuses doubled keys
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}:{where}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None
    except ValueError as error:  # a date or number that has the form of one and is none
        raise ConfigError(f"{path}: {' '.join(str(error).split())}: put such a value in quotes") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: the file must be a mapping of keys")
    for key in raw:
        if not isinstance(key, str):
            raise ConfigError(f"{path}: {key!r}: a key must be a word")
    return raw


def _whole(path: Path) -> str:
    """The text of a file that was not cut off."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file: `rlaifd init` writes a first one") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from None
    if len(text) > LARGEST:
        raise ConfigError(f"{path}: longer than {LARGEST} characters: that is no file of ours")
    if not text.rstrip().endswith("\n..."):
        raise ConfigError(f"{path}: does not end with a line `...`: the file was cut off, or add that line")
    return text


class _UniqueKeys(yaml.SafeLoader):
    """A safe loader that refuses a key written twice, where YAML would keep the last."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is written twice", key_node.start_mark
            )
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=deep)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
