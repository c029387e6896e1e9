"""Reward models on disk: published whole or not at all, named by content, verified before every use.

A reward model is a directory with its calibrations (`reward.json`), for each fold a directory with an adapter
and its head, and a manifest with the SHA-256 of all of these. It is published as adapters are.
"""

import hashlib
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from daemon.adapters.artefacts import building, check_config, check_weights, copy, describe, manifest_of
from daemon.errors import AdapterRefusedError
from policies import durable
from policies.basemodel import Base
from policies.records import Frozen, canonical
from policies.training.jobs import AdapterFile
from policies.training.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS

MANIFEST = "MANIFEST.json"
CALIBRATIONS = "reward.json"
HEAD = "head.safetensors"
FOLD = re.compile(r"fold-\d+")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}-reward-[0-9a-f]{12}")


class RewardManifest(Frozen):
    """What the reward model is made of and came from."""

    format: Literal["rlaifd-reward-2"] = "rlaifd-reward-2"
    policy: str
    base_model: str
    revision: str | None
    snapshot: str
    run: str
    recipe: dict[str, Any]
    code_version: str
    files: dict[str, AdapterFile]
    """By their paths in the directory."""
    base_digest: str | None = None

    @property
    def base(self) -> Base:
        """What it was trained on."""
        return Base(self.base_model, self.revision, self.base_digest)

    @property
    def folds(self) -> tuple[str, ...]:
        """The folds' directories."""
        return tuple(sorted({name.split("/")[0] for name in self.files if "/" in name}))


@dataclass(frozen=True, slots=True)
class PublishedReward:
    """A published reward model. `digest` is the SHA-256 of its manifest."""

    name: str
    digest: str
    path: Path
    manifest: RewardManifest


def publish(source: Path, *, directory: Path, manifest: RewardManifest) -> PublishedReward:
    """Copies the manifest's files into `<directory>/<name>` and returns the reward model.

    At every instant, also across a kill, it is whole or not there. Publishing the same content again answers
    what is there. Raises AdapterRefusedError where the files are not those of the manifest.
    """
    _require_shape(manifest, str(source))
    body = canonical(manifest.model_dump(mode="json"))
    digest = hashlib.sha256(body).hexdigest()
    name = f"{manifest.policy}-reward-{digest[:12]}"
    target = directory / name
    if not target.exists():
        _write(source, target, manifest, body)
    durable.sync(directory)
    verify(target, name, digest=digest)
    return PublishedReward(name, digest, target, manifest)


def _write(source: Path, target: Path, manifest: RewardManifest, body: bytes) -> None:
    """Copies what the manifest names, and puts the manifest beside it."""
    with building(target) as directory:
        for fold in manifest.folds:
            (directory / fold).mkdir()
        for name, expected in sorted(manifest.files.items()):
            copy(source / name, directory / name, expected)
        durable.create(directory / MANIFEST, body, mode=0o444)


def verify(directory: Path, name: str, *, digest: str | None = None) -> RewardManifest:
    """Checks everything that can be checked of a reward model before it is used; returns its manifest.

    `digest` is the manifest's whole digest, where the store has it. Raises AdapterRefusedError naming the
    file and the reason.
    """
    who = f"reward model {name}"
    if not NAME.fullmatch(name) or directory.is_symlink() or not directory.is_dir():
        raise AdapterRefusedError(f"{who}: {directory} is not a reward model's directory")
    try:
        return _verified(directory, name, digest)
    except OSError as error:
        file = Path(error.filename or directory).name
        raise AdapterRefusedError(f"{who}: {file}: {error.strerror}") from None


def _verified(directory: Path, name: str, digest: str | None) -> RewardManifest:
    who = f"reward model {name}"
    _require_files(directory, who)
    manifest = manifest_of(RewardManifest, directory / MANIFEST, who, name=name, digest=digest)
    _require_shape(manifest, who)
    there = {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}
    odd = sorted(there ^ {*manifest.files, MANIFEST})
    if odd:
        raise AdapterRefusedError(f"{who}: {odd[0]}: {'missing' if odd[0] not in there else 'unknown'}")
    for file, expected in sorted(manifest.files.items()):
        if describe(directory / file) != expected:
            raise AdapterRefusedError(f"{who}: {file}: its SHA-256 or size is not the manifest's")
    for fold in manifest.folds:
        check_config(
            directory / fold / ADAPTER_CONFIG,
            who,
            manifest.base_model,
            revision=manifest.revision,
            recipe=manifest.recipe,
        )
        check_weights(directory / fold / ADAPTER_WEIGHTS, who)
        check_weights(directory / fold / HEAD, who)
    return manifest


def _require_files(directory: Path, who: str) -> None:
    """Directories and regular files: to open anything else may wait for ever, or lead elsewhere."""
    for path in directory.rglob("*"):
        if not stat.S_ISREG(mode := path.lstat().st_mode) and not stat.S_ISDIR(mode):
            raise AdapterRefusedError(f"{who}: {path.relative_to(directory)}: not a regular file")


def _require_shape(manifest: RewardManifest, who: str) -> None:
    """Calibrations, and for each fold an adapter with its head: nothing else, and no path that leaves."""
    parts = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, HEAD)
    wanted = {CALIBRATIONS, *(f"{fold}/{part}" for fold in manifest.folds for part in parts)}
    folds = manifest.folds
    if not folds or manifest.files.keys() != wanted or not all(map(FOLD.fullmatch, folds)):
        raise AdapterRefusedError(
            f"{who}: a reward model is {CALIBRATIONS} and in each fold-N {', '.join(parts)}, nothing else"
        )
