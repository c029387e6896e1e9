"""Waiting for something to become true, with a deadline instead of a sleep."""

import time
from collections.abc import Callable


def until(true: Callable[[], object], *, timeout_s: float = 60.0) -> None:
    """Returns once `true()` holds; fails after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"{true} did not come true in {timeout_s} s"
        time.sleep(0.005)
