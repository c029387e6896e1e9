"""The state as one object: what `rlaifd status --json`, `/` and `/api/v1/status` show."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from daemon.clock import Clock
from daemon.config import Settings
from daemon.readiness import as_object, stock_of
from daemon.schedule import Due
from daemon.store import alignment
from daemon.store.overview import overview
from daemon.store.store import Store
from policies.records import Role


class Status:
    """Reads the state in one look at the store.

    `training` says whether a run is due and why not; `conditions` are the rollout's.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        settings: Settings,
        versions: Mapping[Role, str],
        training: Callable[[], Due],
        conditions: Callable[[], Sequence[str]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._versions = versions
        self._training = training
        self._conditions = conditions

    def __call__(self) -> dict[str, Any]:
        """One JSON-serialisable object."""
        now = self._clock.now()
        day = datetime.fromtimestamp(now, UTC).date().isoformat()
        state, found = self._store.read(
            lambda connection: (
                overview(connection, day=day),
                stock_of(connection, self._settings, self._versions, now=now),
            )
        )
        return {
            **state,
            **as_object(found, self._settings),
            "alignment": self._alignment(),
            "training": self._why(),
            "conditions": list(self._conditions()),
        }

    def _why(self) -> dict[str, Any]:
        """Whether a training run is due, and what it waits for if not."""
        found = self._training()
        return {"due": found.yes, "waits_for": found.waits.value, "reason": found.reason}

    def _alignment(self) -> dict[str, dict[str, Any]]:
        policy = self._settings.policy
        limits = policy.halts
        found = {}
        for role, version in self._versions.items():
            measured = self._store.read(
                lambda connection, role=role, version=version: alignment.measure(  # type: ignore[misc]
                    connection,
                    role,
                    version,
                    limit=limits.min_alignment,
                    min_labels=limits.alignment_min_labels,
                    window=limits.alignment_window,
                    min_gap=policy.curation.min_margin,
                )
            )
            found[role.value] = {
                "ratio": measured.ratio,
                "lower": measured.lower,
                "upper": measured.upper,
                "labels": measured.labels,
                "coverage": measured.coverage,
                "length_baseline": measured.length_baseline,
                "ceiling": measured.ceiling,
                "standing": measured.standing.value,
            }
        return found
