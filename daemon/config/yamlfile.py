"""YAML files that people write. `policies.strictyaml` says what of YAML is read.

A file ends with YAML's document-end marker `...`. Cutting a YAML file anywhere usually leaves something that
still parses; the marker is what a cut-off file lacks.
"""

from pathlib import Path
from typing import Any

from daemon.errors import ConfigError
from policies import strictyaml
from policies.strictyaml import LARGEST, StrictYamlError


def read_yaml(path: Path, *, largest: int = LARGEST) -> dict[str, Any]:
    """A YAML mapping from a file of at most `largest` characters that ends with `...`.

    Raises ConfigError, one line.
    """
    text = _whole(path, largest)
    try:
        raw = strictyaml.read(text, largest=largest)
    except StrictYamlError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: the file must be a mapping of keys")
    for key in raw:
        if not isinstance(key, str):
            raise ConfigError(f"{path}: {key!r}: a key must be a word")
    return raw


def _whole(path: Path, largest: int) -> str:
    """The text of a file that was not cut off; of one that is too long one character more than the most."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(largest + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file: `rlaifd init` writes a first one") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from None
    if len(text) <= largest and not text.rstrip().endswith("\n..."):
        raise ConfigError(f"{path}: does not end with a line `...`: the file was cut off, or add that line")
    return text
