"""Time as an argument: stages never read the machine's clock themselves."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """`now` is seconds since the epoch (UTC) for what is stored; `monotonic` is for waiting and deadlines."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class FakeClock:
    """A clock that tests move by hand. Both readings move together."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


def utc(at: float, form: str = "%Y-%m-%d %H:%M UTC") -> str:
    """A time in seconds since the epoch as people read it; one that no calendar has, as the number."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime(form)
    except (ValueError, OverflowError, OSError):
        return f"{at:g} s after 1970"
