"""Turns: one process at a time has the file, and whoever looks sees what it does.

The lock goes with the process that holds it, however that ends; nothing has to be cleaned up after a kill.
"""

import fcntl
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TURN = "device.lock"
"""The file under the state directory that the job holds which has the device."""
SAMPLING, TRAINING = "sampling", "a training"
DOES = {"train": TRAINING, "sample": SAMPLING, "compare": "a comparison", "grade": "a grading"}
"""What those who wait are told of a job, by its kind."""
POLL_S = 0.05
TELL_S = 5.0
"""How often one that waits says so: it is not to be taken for one that hangs."""


class LockedError(Exception):
    """Another process has the turn."""


@contextmanager
def held(
    path: Path, does: str, *, wait_s: float = math.inf, waiting: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Holds the file's lock, and writes into it what is done meanwhile.

    `waiting` is told at once and then every few seconds what the other does; what it raises ends the wait.
    Raises LockedError where the lock was not to be had within `wait_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    begun, told = time.monotonic(), -math.inf
    with path.open("a+", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                now = time.monotonic()
            if now - begun >= wait_s:
                raise LockedError(f"another process holds {path}: {_said(path)}")
            if now - told >= TELL_S:
                told = now
                waiting(_said(path))
            time.sleep(POLL_S)
        file.truncate(0)
        file.write(does)
        file.flush()
        yield


def holder(path: Path) -> str:
    """What the process does that holds the lock; "" where none does."""
    try:
        file = path.open("r", encoding="utf-8")
    except FileNotFoundError:
        return ""
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _said(path)
    return ""


def waits_for_turn(does: str, own: str) -> str:
    """What a job that would do `own` waits for: one that `does` something else on the device; "" if none."""
    return f"{does} has the device, and they take turns (training.turns)" if does not in {"", own} else ""


def _said(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") or "something else"
