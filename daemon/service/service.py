"""The life of `rlaifd run`: everything starts, beats, and stops in order.

One main thread attends to signals, systemd and the loops' ends; each `Loop` has a thread, all `AsyncLoop`s
share one event loop. SIGTERM and SIGINT end with exit code 0 once the steps under way are done or the grace
is over; nothing in memory matters, so a step cut off there is taken up again by the next run.
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from daemon.clock import Clock
from daemon.errors import line_of
from daemon.log import Logger
from daemon.metrics.registry import Metrics
from daemon.service import signals
from daemon.service.health import Heartbeats
from daemon.service.instance import sole
from daemon.service.loops import AsyncLoop, Loop, Pace, drive, drive_async
from daemon.service.systemd import Notifier

GRACE_S = 25.0
CLOSE_S = 5.0
TICK_S = 1.0


@dataclass(frozen=True, slots=True)
class ServiceEnd:
    """The service was told to end: why, and the exit code."""

    reason: str
    exit_code: int


class Stoppable(Protocol):
    """The listener and the schedule, as the service sees them. `stop` waits at most so long."""

    def start(self) -> None: ...

    def stop(self, timeout_s: float) -> None: ...


Closer = tuple[str, Callable[[], Awaitable[None] | None]]
"""A name for the log and what to call. A coroutine function runs on the async loops' event loop."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What runs beside the loops, where there is one."""

    listener: Stoppable | None = None
    schedule: Stoppable | None = None


@dataclass(frozen=True, slots=True)
class Ends:
    """What is done at both ends of a service's life.

    `prepare` is called once the state directory is ours and before anything starts: what must not happen
    beside another daemon (clearing up after a killed one, joining a consumer group) belongs there.
    `stop_training` asks the training child to stop and may block. The steps under way have `grace_s` to end.
    `closers` are called last, in order: sources, judges, store; one that fails or hangs does not keep the
    next from its turn.
    """

    prepare: Callable[[], None] = lambda: None
    stop_training: Callable[[], None] = lambda: None
    closers: Sequence[Closer] = ()
    grace_s: float = GRACE_S


class Service:
    """Runs loops, and what is beside them, until a signal, whatever the steps raise. SIGHUP is answered
    with a log line: nothing is reloaded.
    """

    def __init__(
        self,
        *,
        loops: Sequence[Loop | AsyncLoop],
        state_dir: Path,
        heartbeats: Heartbeats,
        metrics: Metrics,
        clock: Clock,
        log: Logger,
        beside: Beside | None = None,
        ends: Ends | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._loops = loops
        self._state_dir = state_dir
        self._heartbeats = heartbeats
        self._metrics = metrics
        self._clock = clock
        self._log = log
        beside = beside or Beside()
        self._listener = beside.listener
        self._schedule = beside.schedule
        self._ends = ends or Ends()
        self._notifier = notifier or Notifier()
        self._stopping = threading.Event()
        self._inbox: signals.Inbox | None = None
        self._ended: ServiceEnd | None = None
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._events: _EventLoop

    def run(self) -> int:
        """Blocks until the end; returns the exit code. Call it once, in the main thread.

        Raises RlaifdError before anything was started when another process holds the state directory, and
        what the listener raises when its address cannot be had.
        """
        with sole(self._state_dir), signals.caught() as inbox:
            self._inbox = inbox
            self._events = _EventLoop()
            try:
                self._start()
                return self._attend(inbox)
            finally:
                self._drain()
                self._close()

    def stop(self, reason: str = "asked to stop", exit_code: int = 0) -> None:
        """Ends the service from any thread. The first reason given counts."""
        with self._lock:
            self._ended = self._ended or ServiceEnd(reason, exit_code)
        if self._inbox is not None:
            self._inbox.wake()

    def _start(self) -> None:
        self._events.start()
        self._ends.prepare()
        if self._listener is not None:
            self._listener.start()
        for loop in self._loops:
            pace = Pace(loop, heartbeats=self._heartbeats, metrics=self._metrics, log=self._log)
            if isinstance(loop, AsyncLoop):
                self._events.begin(loop, pace)
            else:
                self._begin(loop, pace)
        if self._schedule is not None:
            self._schedule.start()
        self._notifier.tell("READY=1")
        self._log.info("service_started", loops=[loop.name for loop in self._loops])

    def _begin(self, loop: Loop, pace: Pace) -> None:
        thread = threading.Thread(
            target=drive, args=(loop, pace, self._stopping), name=loop.name, daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _attend(self, inbox: signals.Inbox) -> int:
        tick_s = min(TICK_S, (self._notifier.watchdog_s or TICK_S * 2) / 2)
        while True:
            number = inbox.wait(tick_s)
            if self._ended is not None:
                say = self._log.error if self._ended.exit_code else self._log.info
                say("service_ended", reason=self._ended.reason, exit_code=self._ended.exit_code)
                return self._ended.exit_code
            if number in signals.STOP:
                self._log.info("signal_received", signal=int(number or 0))
                return 0
            if number == signals.RELOAD:
                self._log.warning("reload_unsupported", fix="restart to take up a changed configuration")
            if not self._heartbeats.stale():
                self._notifier.tell("WATCHDOG=1")

    def _drain(self) -> None:
        """No new work; the steps under way and the training child share one grace."""
        self._notifier.tell("STOPPING=1")
        deadline = self._clock.monotonic() + self._ends.grace_s
        self._stopping.set()
        self._events.stop_loops()
        training = self._aside("stop_training", self._ends.stop_training)
        if self._schedule is not None:
            self._schedule.stop(self._left(deadline))
        for thread in [*self._threads, training]:
            thread.join(self._left(deadline))
            if thread.is_alive():
                self._log.warning("step_abandoned", loop=thread.name)
        for name in self._events.join(self._left(deadline)):
            self._log.warning("step_abandoned", loop=name)

    def _close(self) -> None:
        if self._listener is not None:
            self._listener.stop(CLOSE_S)
        for name, close in self._ends.closers:
            closing = self._aside(name, lambda close=close: self._events.complete(close))  # type: ignore[misc]
            closing.join(CLOSE_S)
            if closing.is_alive():
                self._log.warning("close_abandoned", closer=name)
        self._events.close()
        self._log.info("service_stopped")

    def _aside(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """Runs work in a thread, so that it can be left behind when it hangs."""

        def _run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - the shutdown goes on whatever fails
                self._log.error("stop_failed", part=name, error=line_of(error))

        thread = threading.Thread(target=_run, name=name, daemon=True)
        thread.start()
        return thread

    def _left(self, deadline: float) -> float:
        return max(0.0, deadline - self._clock.monotonic())


class _EventLoop:
    """One asyncio event loop in one thread, with the async loops on it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="async-loops", daemon=True)
        self._stopping = asyncio.Event()
        self._running: dict[str, Future[None]] = {}

    def start(self) -> None:
        self._thread.start()

    def begin(self, loop: AsyncLoop, pace: Pace) -> None:
        driven = drive_async(loop, pace, self._stopping)
        self._running[loop.name] = asyncio.run_coroutine_threadsafe(driven, self._loop)

    def stop_loops(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)

    def join(self, timeout_s: float) -> list[str]:
        """Waits for the loops; cancels those that take longer and returns their names."""
        deadline = self._loop.time() + timeout_s
        late = []
        for name, future in self._running.items():
            try:
                future.result(max(0.0, deadline - self._loop.time()))
            except FutureTimeoutError:
                future.cancel()
                late.append(name)
        return late

    def complete(self, work: Callable[[], Awaitable[None] | None]) -> None:
        """Calls work; what it answers is awaited on the event loop."""
        answer = work()
        if answer is None:
            return

        async def _await() -> None:
            await answer

        future = asyncio.run_coroutine_threadsafe(_await(), self._loop)
        future.result(CLOSE_S)

    def close(self) -> None:
        with contextlib.suppress(FutureTimeoutError):
            self.complete(self._loop.shutdown_asyncgens)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()
