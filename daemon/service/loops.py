"""A loop calls one step again and again: at once when it did work, after a pause when it did not.

What an error means is decided here, once for all loops (see `Pace.failed`).
"""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from connectors.errors import FatalError, RateLimitedError, TransientError
from daemon.errors import HaltedError, RefusedError, RlaifdError, SourceStoppedError, line_of
from daemon.log import Logger
from daemon.metrics.registry import Metrics
from daemon.service.health import Heartbeats
from daemon.store.store import StoreError

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
REFUSED_S = 0.5
"""The least wait after a refusal: a loop that waits within its step has an idle time of 0."""
STOPPED_S = 1.0
"""How often a source that was stopped looks whether a person has decided."""
PASSING = (TransientError, StoreError, OperationalError, InterfaceError, PoolTimeoutError)


@dataclass(frozen=True, slots=True)
class Loop:
    """A step that runs in a thread of its own. It answers how much it did; 0 means nothing was there to do.

    `bound_s` is the longest a step may take before `/healthz` calls the loop stuck; a longer step beats from
    within. `awaited`: the daemon is not ready before the first step went through.
    """

    name: str
    step: Callable[[], int]
    idle_s: float
    bound_s: float = 300.0
    awaited: bool = False


@dataclass(frozen=True, slots=True)
class AsyncLoop:
    """The same for a coroutine. All async loops share one event loop in one thread."""

    name: str
    step: Callable[[], Awaitable[int]]
    idle_s: float
    bound_s: float = 300.0
    awaited: bool = False
    finish: Callable[[], Awaitable[object]] | None = None
    """Ends what a step has left in hand, once no further one begins. Cancelled when the grace is over."""


class Pace:
    """How long one loop waits after a step.

    Whatever a step raises is its own loop's trouble: records go on being stored while nothing can be judged,
    and alerts halt while nothing can be stored. What nothing could be served without is had before the loops
    begin (`daemon.service.service`).
    """

    def __init__(
        self, loop: Loop | AsyncLoop, *, heartbeats: Heartbeats, metrics: Metrics, log: Logger
    ) -> None:
        self.name = loop.name
        self._idle_s = loop.idle_s
        self._heartbeats = heartbeats
        self._metrics = metrics
        self._log = log
        self._refusal = self._told = ""
        longest_pause = max(loop.idle_s, LONGEST_BACKOFF_S)
        heartbeats.expect(loop.name, bound_s=loop.bound_s + longest_pause, awaited=loop.awaited)
        metrics.errors.labels(loop.name)

    def beat(self) -> None:
        self._heartbeats.beat(self.name)

    def worked(self, did: int) -> float:
        """The step went through: on at once if it did something."""
        self._refusal = self._told = ""
        self._heartbeats.passed(self.name)
        return 0.0 if did else self._idle_s

    def failed(self, error: Exception) -> float:
        """The step raised.

        A halt or another refusal is no error: the loop idles. Everything else is counted, shows until a step
        goes through, and is tried again for ever, with backoff: what waiting mends (TransientError, a
        database that is away), what a person must mend (FatalError, RlaifdError), and bugs, which are logged
        with where they are. A source that was stopped shows by itself, and looks every second whether it may
        go on.
        """
        if isinstance(error, SourceStoppedError):
            self._heartbeats.began(self.name)
            self._tell("source_stopped", error)
            return max(self._idle_s, STOPPED_S)
        if isinstance(error, RefusedError):
            return self._refused(error)
        line = line_of(error)
        self._metrics.errors.labels(self.name).inc()
        failures = self._heartbeats.failed(self.name, line)
        if isinstance(error, PASSING):
            self._log.warning("step_failed", loop=self.name, error=line, failures=failures)
        elif isinstance(error, FatalError | RlaifdError):
            self._tell("step_needs_a_person", error, failures=failures)
        else:
            self._tell("step_broke", error, failures=failures, exc_info=error)
        return self._backoff(failures, error)

    def _tell(self, event: str, error: Exception, **more: Any) -> None:
        """An error that will come again and again is told once: its trace is long."""
        line = line_of(error)
        if line != self._told:
            self._log.error(event, loop=self.name, error=line, **more)
            self._told = line

    def _refused(self, error: RefusedError) -> float:
        line = line_of(error)
        if line != self._refusal:
            event = "loop_halted" if isinstance(error, HaltedError) else "step_refused"
            self._log.info(event, loop=self.name, reason=line)
            self._refusal = line
        self._heartbeats.passed(self.name)
        return max(self._idle_s, REFUSED_S)

    def _backoff(self, failures: int, error: Exception) -> float:
        ceiling = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 16))
        wish = error.retry_after_s if isinstance(error, RateLimitedError) else None
        pause = ceiling * (0.5 + random.random() / 2)
        return min(LONGEST_BACKOFF_S, max(pause, wish or 0.0))


def drive(loop: Loop, pace: Pace, stopping: threading.Event) -> None:
    """Runs a loop in this thread until `stopping`."""
    while not stopping.is_set():
        pace.beat()
        try:
            pause = pace.worked(loop.step())
        except Exception as error:  # noqa: BLE001 - the top of a loop: counted, logged and judged by type
            pause = pace.failed(error)
        stopping.wait(pause)


async def drive_async(loop: AsyncLoop, pace: Pace, stopping: asyncio.Event) -> None:
    """`drive` for an async loop. A step that was cancelled from outside while running counts as broken."""
    while not stopping.is_set():
        pace.beat()
        try:
            pause = pace.worked(await loop.step())
        except asyncio.CancelledError:
            if stopping.is_set():
                raise
            pause = pace.failed(RuntimeError("the step was cancelled"))
        except Exception as error:  # noqa: BLE001 - the top of a loop: counted, logged and judged by type
            pause = pace.failed(error)
        await _wait(stopping, pause)
    if loop.finish is not None:
        try:
            await loop.finish()
        except Exception as error:  # noqa: BLE001 - as that of a step
            pace.failed(error)


async def _wait(stopping: asyncio.Event, pause_s: float) -> None:
    try:
        async with asyncio.timeout(pause_s):
            await stopping.wait()
    except TimeoutError:
        return
