"""The user's cache folder: what tests fetch once and keep, safe with several processes at once."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def folder() -> Path:
    """The folder, made where it is missing. XDG_CACHE_HOME moves it."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rlaifd-tests"
    base.mkdir(parents=True, exist_ok=True)
    return base


@contextmanager
def alone(name: str) -> Iterator[Path]:
    """The folder, while no other process is inside with the same name: who comes second waits."""
    base = folder()
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield base
