"""A reward model at work: one adapter with a head for each fold on the one base, and rewards out of scores.

Its directory has `reward.json`, and for each fold a directory with an adapter and its head.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, ValidationError

from policies import rewards
from policies.calibration import PRIOR, Calibration, cut
from policies.records import Frozen
from policies.training.engines import heads
from policies.training.engines.heads import Sequences
from policies.training.engines.roles import Roles
from policies.training.errors import JobError
from policies.training.jobs import AdapterFile
from policies.training.model.lora import LoadedBase, describe

MANIFEST = "reward.json"
BATCH = 16


class Calibrations(Frozen):
    """What the reward model is made of: one calibration a fold, in the folds' order."""

    format: Literal["rlaifd-reward-2"] = "rlaifd-reward-2"
    calibrations: tuple[Calibration, ...] = Field(min_length=1)


def fold_name(number: int) -> str:
    """The directory of a fold inside the reward model's."""
    return f"fold-{number}"


def role_of(number: int) -> str:
    """The fold's adapter on the base."""
    return f"reward{number}"


def write_manifest(directory: Path, calibrations: Sequence[Calibration]) -> AdapterFile:
    """Writes `reward.json`."""
    manifest = Calibrations(calibrations=tuple(calibrations))
    path = directory / MANIFEST
    path.write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return describe(path)


def read_manifest(directory: Path) -> Calibrations:
    """Raises JobError where the directory holds no reward model."""
    path = directory / MANIFEST
    try:
        return Calibrations.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise JobError(f"{path}: no reward model: {' '.join(str(error).split())[:200]}") from None


class RewardModel:
    """The folds of a reward model on a base that others share."""

    def __init__(
        self, roles: Roles, head: Sequence[torch.nn.Linear], calibrations: Sequence[Calibration] = ()
    ) -> None:
        self._roles = roles
        self.heads = list(head)
        self.calibrations = list(calibrations) or [PRIOR] * len(self.heads)

    def scores(self, sequences: Sequences) -> list[list[float]]:
        """Each fold's scores of the answers: `[fold][answer]`."""
        found = []
        for number, head in enumerate(self.heads):
            with self._roles.acting(role_of(number)):
                found.append(heads.scores(self._roles.passes, head, sequences, BATCH))
        return found

    def rewards(self, sequences: Sequences, pessimism: float) -> list[float]:
        """The answers' rewards in points of 0 to 10: the folds' mean minus `pessimism` standard deviations.

        Raises JobError for a score that is not finite.
        """
        views = [
            [calibration.uncut(score) for score in row]
            for calibration, row in zip(self.calibrations, self.scores(sequences), strict=True)
        ]
        try:
            return [cut(rewards.pessimistic(each, pessimism)) for each in zip(*views, strict=True)]
        except ValueError as error:
            raise JobError(f"the reward model: {error}") from None


def load(roles: Roles, directory: Path, base: LoadedBase) -> RewardModel:
    """Puts a reward model on the base, frozen. Raises JobError where something of it is missing."""
    manifest = read_manifest(directory)
    found = []
    for number in range(len(manifest.calibrations)):
        fold = directory / fold_name(number)
        roles.load(role_of(number), fold, base)
        found.append(heads.load(fold, heads.width_of(roles.model), roles.device).requires_grad_(False))
    return RewardModel(roles, found, manifest.calibrations)
