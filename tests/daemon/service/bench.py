"""A service with fake loops in a thread of its own."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.clock import Clock, SystemClock
from daemon.errors import RlaifdError
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.service.health import Heartbeats
from daemon.service.loops import AsyncLoop, Loop
from daemon.service.service import Beside, Ends, Service


@dataclass
class Bench:
    """A service in a thread: `start` it with loops, and `end` it."""

    state_dir: Path
    clock: Clock = field(default_factory=SystemClock)
    metrics: Metrics = field(default_factory=Metrics)
    code: int | None = None
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.heartbeats = Heartbeats(self.clock)

    def start(self, *loops: Loop | AsyncLoop, **named: Any) -> Service:
        self.service = Service(
            loops=loops,
            state_dir=self.state_dir,
            heartbeats=self.heartbeats,
            metrics=self.metrics,
            clock=self.clock,
            log=get("service"),
            beside=Beside(**{name: named.pop(name) for name in ("listener", "schedule") if name in named}),
            notifier=named.pop("notifier", None),
            ends=Ends(**named),
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self.service

    def _run(self) -> None:
        try:
            self.code = self.service.run()
        except RlaifdError as error:
            self.error = error

    def end(self, *, stop: bool = True) -> int | None:
        if stop:
            self.service.stop()
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.code

    def errors(self, stage: str) -> float | None:
        return self.metrics.registry.get_sample_value("rlaifd_stage_errors_total", {"stage": stage})
