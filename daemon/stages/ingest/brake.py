"""Whether reading pauses, as disk and store have it now."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from daemon.clock import Clock
from daemon.store import tally
from daemon.store.store import Store
from policies.pressure import Levels, Pressure, PressureRule, line, pressing

LOOKED_S = 1.0
LONGEST_WAIT_S = 0.5


def free_bytes(directory: Path) -> float:
    """What an ordinary user may still write on the disk of a directory, or of the nearest one above it."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return float(shutil.disk_usage(directory).free)


class Brake:
    """Says what keeps reading paused. Used by one thread at a time."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        rule: PressureRule,
        free: Callable[[], float],
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """`free` answers how many bytes the disk has left, `wait` passes time."""
        self._store, self._clock, self._rule = store, clock, rule
        self._free, self._wait = free, wait
        self._pressing: frozenset[Pressure] = frozenset()
        self._levels = Levels(float("inf"), 0)
        self._at = float("-inf")

    def pressing(self) -> frozenset[Pressure]:
        """What keeps reading paused. Looks at most once a second."""
        now = self._clock.monotonic()
        if now - self._at >= LOOKED_S:
            self._at = now
            self._levels = Levels(self._free(), self._open())
            self._pressing = pressing(self._levels, self._pressing, self._rule)
        return self._pressing

    def lines(self) -> list[str]:
        """What a person is told of each pressure there is."""
        return [line(each, self._levels, self._rule) for each in sorted(self.pressing())]

    def rest(self, seconds: float) -> None:
        """Waits for a while: a paused source is not asked, which is what waits else."""
        if seconds > 0:
            self._wait(min(seconds, LONGEST_WAIT_S))

    def _open(self) -> int:
        if self._rule.open_judgements_high is None:
            return 0
        return sum(self._store.read(tally.read).open().values())
