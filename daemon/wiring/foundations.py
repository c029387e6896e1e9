"""What all parts stand on: settings, clock, store, metrics, latch, budget, and adapters that are verified."""

import os
import platform
import socket
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from daemon import log, version
from daemon.clock import Clock, SystemClock
from daemon.config.settings import Settings
from daemon.store.store import Store

if TYPE_CHECKING:
    from daemon.adapters.adapters import Manifest
    from daemon.adapters.basedigest import BaseOnDisk
    from daemon.budget import Budget
    from daemon.latch import Latch
    from daemon.metrics.registry import Metrics
    from policies.judging.constitution import Constitution
    from policies.judging.judges import NamedJudge
    from policies.judging.rubric import Rubric


class Foundations:
    """What the parts of one daemon or one command stand on. `close` ends what was built."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self._digests: dict[str, str] = {}

    def prepare_store(self) -> None:
        """Makes the schema of a new database; raises StoreError for one of another version."""
        from daemon.store import schema

        if self.store.read(schema.current) is None:
            schema.upgrade(self.store)
        schema.verify(self.store)

    def close(self) -> None:
        """Closes the store, if it was opened. Judges and sources are closed by what runs them."""
        if "store" in self.__dict__:
            self.store.close()

    @cached_property
    def store(self) -> Store:
        return Store(self.settings.store_url)

    @cached_property
    def documents(self) -> "tuple[Constitution, Rubric]":
        from daemon.wiring.judges import documents

        return documents(self.settings.policy)

    @cached_property
    def named(self) -> "tuple[NamedJudge, ...]":
        """The configured judges, with the versions that they have now."""
        from daemon.wiring.judges import named

        return named(self.settings.judges, self.settings.policy.judging, *self.documents)

    @cached_property
    def metrics(self) -> "Metrics":
        from daemon.metrics.registry import Metrics

        metrics = Metrics()
        metrics.prepare(sources=tuple(each.name for each in self.settings.sources), judges=self.named)
        metrics.build_info.labels(version(), platform.python_version()).set(1)
        for judge in self.named:
            limit = self.settings.judges[judge.name].daily_budget_usd
            if limit is not None:
                metrics.budget.labels(*judge.labels).set(limit)
        metrics.training_kl_limit.set(self.settings.policy.guards.kl_nats.limit)
        return metrics

    @cached_property
    def latch(self) -> "Latch":
        from daemon.latch import Latch

        return Latch(self.store, self.clock, self.metrics)

    @cached_property
    def budget(self) -> "Budget":
        from daemon.budget import Budget

        return Budget(self.store, self.clock, self.metrics)

    @cached_property
    def base_on_disk(self) -> "BaseOnDisk":
        from daemon.adapters.basedigest import CACHE, BaseOnDisk

        return BaseOnDisk(self.settings.policy.base, cache=self.settings.state_dir / CACHE)

    @property
    def adapters_dir(self) -> Path:
        return self.settings.state_dir / "adapters"

    @property
    def alert_token(self) -> str | None:
        """Read anew each time: a rotated secret counts at once."""
        from daemon.config.secret import alert_token

        return alert_token(self.settings.web)

    def verified_path(self, adapter: str) -> Path:
        """The adapter's directory, verified. Raises AdapterRefusedError."""
        directory = self.adapters_dir / adapter
        found = self.verify(directory, adapter)
        self.base_on_disk.check(adapter, found.base)
        return directory

    def verify(self, directory: Path, adapter: str) -> "Manifest":
        """Against the whole digest that the store has. It never changes, so it is read once."""
        from daemon.adapters import adapters
        from daemon.store import adapters as adapter_rows

        digest = self._digests.get(adapter) or self.store.read(lambda c: adapter_rows.digest(c, adapter))
        if digest is not None:
            self._digests[adapter] = digest
        return adapters.verify(directory, adapter, digest=digest)

    def logger(self, room: str) -> log.Logger:
        """A logger for a room."""
        return log.get(room)
