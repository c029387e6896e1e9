"""The state as one object: what `rlaifd status --json`, `/` and `/api/v1/status` show."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from daemon.clock import Clock
from daemon.store.overview import overview
from daemon.store.store import Store


class Status:
    """Reads the state. `alignment` and `conditions` come from the rooms that own them."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        alignment: Callable[[], dict[str, dict[str, Any]]],
        conditions: Callable[[], Sequence[str]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._alignment = alignment
        self._conditions = conditions

    def __call__(self) -> dict[str, Any]:
        """One JSON-serialisable object."""
        day = datetime.fromtimestamp(self._clock.now(), UTC).date().isoformat()
        state = self._store.read(lambda connection: overview(connection, day=day))
        return {**state, "alignment": self._alignment(), "conditions": list(self._conditions())}
