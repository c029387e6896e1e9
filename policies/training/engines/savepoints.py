"""What a run must find again after a kill: named weights and optimisers, as safetensors.

A checkpoint directory holds them beside what the run and its guards know, and counts once it is sealed.
Random numbers are not among it: every draw is a function of seed and step.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from policies.training.errors import JobError
from policies.training.model import checkpoints

EXTRA = "guards.json"
"""File of a checkpoint with what the guards have seen."""
KEPT = 2
"""Newest checkpoints that stay: one that is torn must have another before it."""


def keep(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Writes tensors by name."""
    plain = {name: value.detach().cpu().contiguous() for name, value in sorted(tensors.items())}
    save_file(plain, str(path), metadata={"format": "pt"})


def restore(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Reads what `keep` wrote into the tensors. Raises JobError where they are not the same ones."""
    found = load_file(str(path))
    odd = sorted(found.keys() ^ tensors.keys())
    if odd:
        raise JobError(
            f"{path}: not a checkpoint of this run: {odd[0]} and {len(odd) - 1} more are not in both"
        )
    with torch.no_grad():
        for name, value in tensors.items():
            value.copy_(found[name])


def keep_optimiser(optimiser: torch.optim.Optimizer, path: Path) -> None:
    """Writes the optimiser's moments. Its settings are the recipe's and are not written."""
    state: dict[int, dict[str, torch.Tensor]] = optimiser.state_dict()["state"]
    keep({f"{place}.{name}": value for place, each in state.items() for name, value in each.items()}, path)


def restore_optimiser(optimiser: torch.optim.Optimizer, path: Path) -> None:
    """Reads what `keep_optimiser` wrote."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in load_file(str(path)).items():
        place, _, name = key.partition(".")
        state.setdefault(int(place), {})[name] = value
    optimiser.load_state_dict(optimiser.state_dict() | {"state": state})


def finish(directory: Path, extra: str) -> None:
    """Adds what the guards have seen and seals the checkpoint: from here on it counts."""
    (directory / EXTRA).write_text(extra, encoding="utf-8")
    checkpoints.seal(directory)


def prune(folder: Path) -> None:
    """Removes all but the newest checkpoints."""
    found = [path for path in folder.iterdir() if checkpoints.step_of(path) is not None]
    for path in sorted(found, key=lambda path: checkpoints.step_of(path) or 0)[:-KEPT]:
        shutil.rmtree(path)
