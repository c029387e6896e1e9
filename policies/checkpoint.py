"""A base model's directory: what it must hold before anybody loads it.

Read here are names and `config.json` alone, so that `rlaifd check` and the training child say the same thing
in the same words.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies import architectures

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"


class CheckpointError(ValueError):
    """The directory is no base model that can be trained. One line: the place, what is wrong, the way out."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A base model on disk: its configuration, and the weight files that transformers reads, by name."""

    directory: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]


def read(directory: Path) -> Checkpoint:
    """The base model in a directory. Raises CheckpointError for the first thing that is wrong."""
    names = _names(directory)
    if CONFIG not in names:
        raise CheckpointError(f"{directory}: {_no_config(names)}")
    if ADAPTER in names:
        raise CheckpointError(
            f"{directory}: {ADAPTER}: this is an adapter, or a base model with one beside it, which "
            "transformers would apply unasked: merge it, or take it away"
        )
    config = _object(directory / CONFIG)
    problem = architectures.problem(config)
    if problem is not None:
        raise CheckpointError(f"{directory / CONFIG}: {problem}")
    return Checkpoint(directory, config, _weights(directory, names))


def _names(directory: Path) -> set[str]:
    try:
        return {path.name for path in directory.iterdir()}
    except OSError as error:
        raise CheckpointError(f"{directory}: {error.strerror}") from None


def _no_config(names: set[str]) -> str:
    if any(name.endswith(".gguf") for name in names):
        return "a GGUF file and no config.json: convert it to a directory of safetensors (see the README)"
    return f"no {CONFIG}: this is not the directory of a model"


def _weights(directory: Path, names: set[str]) -> tuple[Path, ...]:
    """In transformers' own order: one file, else those of the index."""
    if WEIGHTS in names:
        return (directory / WEIGHTS,)
    if INDEX in names:
        shards = _object(directory / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise CheckpointError(f"{directory / INDEX}: it has no weight_map: fetch the file again")
        missing = sorted(set(shards.values()) - names)
        if missing:
            raise CheckpointError(f"{directory}: {missing[0]} is missing: the index names it; fetch it again")
        return tuple(directory / name for name in sorted(set(shards.values())))
    raise CheckpointError(f"{directory}: {_no_weights(names)}")


def _no_weights(names: set[str]) -> str:
    if any(name.endswith((".bin", ".pt", ".pth")) for name in names):
        return (
            f"weights as pickles and no {WEIGHTS}: a pickle runs code and is never read: save the model with "
            "`save_pretrained`, which writes safetensors"
        )
    if any(name.endswith(".gguf") for name in names):
        return f"a GGUF file and no {WEIGHTS}: convert it to safetensors (see the README)"
    return f"no weights: neither {WEIGHTS} nor {INDEX}"


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes(), parse_constant=str)  # some configurations hold Infinity
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    return found
