"""Checkpoints that can be trusted after a kill: a manifest of SHA-256s, written last.

Hugging Face's own resume takes the newest directory as it is, and fails on a torn one. Here a checkpoint
without a manifest that verifies is set aside, and the one before it is used.
"""

import hashlib
import json
from pathlib import Path

from policies import durable

MANIFEST = "CHECKPOINT.json"
PREFIX = "checkpoint-"
TORN = "torn-"


def seal(directory: Path) -> None:
    """Writes the manifest of a complete checkpoint, durably. Only then does the checkpoint count."""
    files = {str(path.relative_to(directory)): _digest(path) for path in _files(directory)}
    for name in files:
        durable.sync(directory / name)
    durable.write(directory / MANIFEST, json.dumps(files, sort_keys=True).encode())
    durable.sync(directory.parent)


def newest(folder: Path) -> Path | None:
    """The newest checkpoint that verifies. Newer ones that do not are renamed to `torn-…`."""
    if not folder.is_dir():
        return None
    found = [path for path in folder.iterdir() if path.is_dir() and step_of(path) is not None]
    for path in sorted(found, key=lambda path: step_of(path) or 0, reverse=True):
        if verifies(path):
            return path
        aside = path.with_name(TORN + path.name)
        number = 1
        while aside.exists():
            number += 1
            aside = path.with_name(f"{TORN}{number}-{path.name}")
        path.rename(aside)
    return None


def verifies(directory: Path) -> bool:
    """Whether the manifest names exactly the files that are there, with their digests."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(manifest, dict):
        return False
    files = {str(path.relative_to(directory)): path for path in _files(directory)}
    return files.keys() == manifest.keys() and all(_digest(files[name]) == manifest[name] for name in files)


def step_of(directory: Path) -> int | None:
    """The step in a checkpoint directory's name; None for anything else."""
    step = directory.name.removeprefix(PREFIX)
    return int(step) if directory.name.startswith(PREFIX) and step.isdecimal() else None


def _files(directory: Path) -> list[Path]:
    return sorted(
        path
        for path in directory.rglob("*")
        if path.is_file() and path.name != MANIFEST and not durable.is_temporary(path)
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
