"""When training starts: a job that only asks whether a run is due, and a thread that runs it.

The last start comes from the store, not from this process: a daemon that restarts every half hour still
trains every hour, and one that slept over ten intervals trains once.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC

from apscheduler.schedulers.background import BackgroundScheduler

from daemon.clock import Clock
from daemon.errors import RefusedError
from daemon.log import Logger
from daemon.loops import line_of
from daemon.metrics import Metrics

ASK_S = 15.0
NAME = "training"


@dataclass(frozen=True, slots=True)
class Due:
    """Whether a run starts now, and why or why not."""

    yes: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the store says: `last_start` is the newest run's start (seconds since the epoch) or None.

    `released`: a reward model was released that a recipe of the policy asks for, and no run began since.
    """

    last_start: float | None
    new_preferences: int
    halted: bool
    running: bool
    leads: bool = True
    released: bool = False


def due(facts: Facts, *, now: float, interval_s: float, min_new: int) -> Due:
    """Whether a training run is due.

    A start in the near future is one that a step of the clock put there: it counts as just now, so that no
    run is started twice. One further ahead than the interval is not believed.
    """
    if not facts.leads:
        return Due(yes=False, reason="another daemon leads")
    if facts.halted:
        return Due(yes=False, reason="training is halted")
    if facts.running:
        return Due(yes=False, reason="a run is under way")
    if facts.last_start is not None and abs(now - facts.last_start) < interval_s:
        return Due(yes=False, reason=f"the last run started less than {interval_s:.0f} s ago")
    if facts.new_preferences < min_new and not facts.released:
        return Due(yes=False, reason=f"{facts.new_preferences} new preferences of {min_new}")
    why = "a reward model was released" if facts.released else f"{facts.new_preferences} new preferences"
    return Due(yes=True, reason=why)


class Schedule:
    """Asks every quarter of a minute (or every interval, where that is shorter) and trains when due.

    `facts` reads the store; `train` blocks until the run has ended and stops early when the service asks the
    child to. One run at a time. A run that raised is not tried again before the interval has passed.
    """

    def __init__(
        self,
        *,
        interval_s: float | None,
        min_new: int,
        facts: Callable[[], Facts],
        train: Callable[[], object],
        clock: Clock,
        metrics: Metrics,
        log: Logger,
    ) -> None:
        self._interval_s = interval_s
        self._min_new = min_new
        self._facts = facts
        self._train = train
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._scheduler: BackgroundScheduler | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._failed_at: float | None = None
        self._said = ""

    def start(self) -> None:
        """Begins to ask. Does nothing when the interval is None: then only people start a run."""
        if self._interval_s is None:
            return
        self._metrics.errors.labels(NAME)
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._scheduler.add_job(self.ask, "interval", seconds=min(ASK_S, self._interval_s))
        self._scheduler.start()

    def ask(self) -> Due:
        """Decides once, and starts the run when it is due. What goes wrong is counted, never raised."""
        assert self._interval_s is not None
        try:
            decision = self._decide(self._interval_s)
        except Exception as error:  # noqa: BLE001 - the next tick asks again
            decision = Due(yes=False, reason=line_of(error))
            self._metrics.errors.labels(NAME).inc()
            self._log.warning("schedule_failed", error=decision.reason)
        if decision.yes:
            self._begin(decision)
        elif decision.reason != self._said:
            self._log.debug("training_not_due", reason=decision.reason)
        self._said = decision.reason
        return decision

    @property
    def running(self) -> bool:
        """A run that this schedule started is under way."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self, timeout_s: float) -> None:
        """Starts nothing more and waits for a run under way, at most so long. It stops no child."""
        self._stopping.set()
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=False)
            self._scheduler = None
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                self._log.warning("training_abandoned")

    def _decide(self, interval_s: float) -> Due:
        if self._stopping.is_set():
            return Due(yes=False, reason="the daemon is stopping")
        if self.running:
            return Due(yes=False, reason="a run is under way")
        if self._failed_at is not None and self._clock.monotonic() - self._failed_at < interval_s:
            return Due(yes=False, reason=f"the last attempt failed less than {interval_s:.0f} s ago")
        return due(self._facts(), now=self._clock.now(), interval_s=interval_s, min_new=self._min_new)

    def _begin(self, decision: Due) -> None:
        self._log.info("training_due", reason=decision.reason)
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        if self._stopping.is_set():
            return
        try:
            self._train()
            self._failed_at = None
        except RefusedError as error:
            self._log.info("training_refused", reason=line_of(error))
        except Exception as error:  # noqa: BLE001 - the top of the thread: counted and logged
            self._failed_at = self._clock.monotonic()
            self._metrics.errors.labels(NAME).inc()
            self._log.error("training_broke", error=line_of(error), exc_info=error)
