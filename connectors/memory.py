"""The shipped fakes: every outside system in memory, under the same contract as the real ones."""

import time
from collections.abc import Callable

from connectors.base import Served
from connectors.errors import FatalError, TransientError


class MemoryTarget:
    """A ServingTarget in memory. `unreachable` makes both calls raise; `serves` keeps every switch."""

    name = "memory"

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._adapter: str | None = None
        self._epoch = 0
        self.unreachable = False
        self.serves: list[tuple[str | None, str | None, int]] = []

    def serve(self, adapter: str | None, directory: str | None, epoch: int) -> None:
        self._reach()
        if (adapter is None) != (directory is None):
            raise FatalError("an adapter needs its directory, and the base model has none")
        if epoch < self._epoch:
            raise FatalError(f"epoch {epoch} is older than {self._epoch}, which is served")
        self._adapter, self._epoch = adapter, epoch
        self.serves.append((adapter, directory, epoch))

    def served(self) -> Served:
        self._reach()
        return Served(adapter=self._adapter, checked_at=self._now())

    def restart(self) -> None:
        """Forgets what it serves, as a server does that was started again."""
        self._adapter = None

    def _reach(self) -> None:
        if self.unreachable:
            raise TransientError("the memory target is unreachable")
