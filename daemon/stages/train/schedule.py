"""When training starts: a job that only asks whether a run is due, and a thread that runs it.

A run that was cut off goes on at once: it waited already. The last start comes from the store, not from this
process: a daemon that restarts every half hour still trains every hour, and one that slept over ten intervals
trains once.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum
from typing import TYPE_CHECKING

from daemon.clock import Clock
from daemon.errors import RefusedError, line_of
from daemon.log import Logger
from daemon.metrics.registry import Metrics

if TYPE_CHECKING:
    from apscheduler.schedulers.background import BackgroundScheduler

ASK_S = 15.0
NAME = "training"


class Waits(StrEnum):
    """What training waits for."""

    NOTHING = "nothing"
    LEAD = "lead"
    PEOPLE = "people"
    """Only they start a run: there is no interval."""
    HALT = "halt"
    RUN = "run"
    """Another is under way."""
    INTERVAL = "interval"
    COOLDOWN = "cooldown"
    NEW_PREFERENCES = "new_preferences"
    PREFERENCES = "preferences"
    """A snapshot would hold too few."""
    OTHER_DATA = "other_data"
    """The recipe was rejected on these."""
    REWARD_MODEL = "reward_model"
    """None is released that PPO could learn from."""
    STOP = "stop"
    """The daemon ends."""


@dataclass(frozen=True, slots=True)
class Due:
    """Whether a run starts now, and why or why not."""

    yes: bool
    reason: str
    waits: Waits = Waits.NOTHING


@dataclass(frozen=True, slots=True)
class StartTerms:
    """What has to be met before a run starts by itself; see `daemon.config.settings.TrainingConfig`."""

    interval_s: float | None
    min_new: int
    min_preferences: int
    cooldown_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TurningPoint:
    """What a cool-down counts from: `what` happened `at` (seconds since the epoch)."""

    at: float
    what: str


@dataclass(frozen=True, slots=True)
class Harvest:
    """What a run would learn from now: how much a snapshot keeps, and in words what it leaves out.

    `unit` is what is kept, in the plural. `rejected` says of which run's adapter, made by the same recipe on
    these very data, nothing came.
    """

    kept: int
    left_out: str = ""
    rejected: str | None = None
    unit: str = "pairs"


@dataclass(frozen=True, slots=True)
class Situation:
    """What the store says: `last_start` is the newest run's start (seconds since the epoch) or None.

    `material` is read last, where all else is met: it is the dear part. `released`: a reward model was
    released that a recipe asks for, and no run by that recipe began since.
    """

    last_start: float | None
    new_preferences: int
    halted: bool
    running: bool
    material: Callable[[], Harvest]
    turn: TurningPoint | None = None
    leads: bool = True
    called: str = "preferences"
    """What `new_preferences` counts, in the plural."""
    cut_off: bool = False
    """A run was cut off and can go on from its checkpoint."""
    released: bool = False
    awaited: str | None = None
    """Why none of the recipes can be followed before a reward model is released."""


def due(facts: Situation, terms: StartTerms, *, now: float) -> Due:
    """Whether a training run is due, or the first reason why not.

    A start in the near future is one that a step of the clock put there: it counts as just now, so that no
    run is started twice. One further ahead than the interval is not believed. So with what a cool-down counts
    from.
    """
    held = _held(facts, terms)
    if held is None and facts.cut_off:
        return Due(yes=True, reason="a run that was cut off goes on from its checkpoint")
    held = held or _early(facts, terms, now) or lacking(facts, terms)
    why = "a reward model was released" if facts.released else f"{facts.new_preferences} new {facts.called}"
    return held or Due(yes=True, reason=why)


def _held(facts: Situation, terms: StartTerms) -> Due | None:
    if not facts.leads:
        return _not("another daemon leads", Waits.LEAD)
    if facts.halted:
        return _not("training is halted", Waits.HALT)
    if facts.running:
        return _not("a run is under way", Waits.RUN)
    if terms.interval_s is None:
        return _not("training.interval_s is null: `rlaifd train` starts a run", Waits.PEOPLE)
    return None


def _early(facts: Situation, terms: StartTerms, now: float) -> Due | None:
    assert terms.interval_s is not None
    if facts.last_start is not None and abs(now - facts.last_start) < terms.interval_s:
        return _not(f"the last run started less than {terms.interval_s:.0f} s ago", Waits.INTERVAL)
    if facts.turn is not None and abs(now - facts.turn.at) < terms.cooldown_s:
        left = terms.cooldown_s - (now - facts.turn.at)
        return _not(
            f"{facts.turn.what} less than training.cooldown_s ({terms.cooldown_s:.0f}) ago: "
            f"{min(left, terms.cooldown_s):.0f} s are left",
            Waits.COOLDOWN,
        )
    return None


def lacking(facts: Situation, terms: StartTerms) -> Due | None:
    """Why what there is gives no run of the schedule anything to learn; None where it does."""
    if facts.awaited is not None:
        return _not(facts.awaited, Waits.REWARD_MODEL)
    if facts.new_preferences < terms.min_new and not facts.released:
        return _not(f"{facts.new_preferences} new {facts.called} of {terms.min_new}", Waits.NEW_PREFERENCES)
    return short(facts.material(), terms)


def short(material: Harvest, terms: StartTerms) -> Due | None:
    """Why no run is to learn from this, whoever starts it; None where one may."""
    if material.kept < terms.min_preferences:
        left_out = f"; left out: {material.left_out}" if material.left_out else ""
        return _not(
            f"a snapshot would hold {material.kept} {material.unit} of training.min_preferences "
            f"({terms.min_preferences}){left_out}",
            Waits.PREFERENCES,
        )
    if material.rejected is not None:
        return _not(f"{material.rejected}: the same recipe waits for other data", Waits.OTHER_DATA)
    return None


def _not(reason: str, waits: Waits) -> Due:
    return Due(yes=False, reason=reason, waits=waits)


class Schedule:
    """Asks every quarter of a minute (or every interval, where that is shorter) and trains when due.

    `facts` reads the store; `train` blocks until the run has ended and stops early when the service asks the
    child to. One run at a time. A run that raised is not tried again before the interval has passed.
    """

    def __init__(
        self,
        *,
        terms: StartTerms,
        facts: Callable[[], Situation],
        train: Callable[[], object],
        clock: Clock,
        metrics: Metrics,
        log: Logger,
    ) -> None:
        self._terms = terms
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
        if self._terms.interval_s is None:
            return
        from apscheduler.schedulers.background import BackgroundScheduler

        self._metrics.errors.labels(NAME)
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._scheduler.add_job(self.ask, "interval", seconds=min(ASK_S, self._terms.interval_s))
        self._scheduler.start()

    def ask(self) -> Due:
        """Decides once, and starts the run when it is due. What goes wrong is counted, never raised."""
        try:
            decision = self._decide()
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

    def explain(self) -> str:
        """Why no run starts now, or why one does. It starts none."""
        return self._decide().reason

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

    def _decide(self) -> Due:
        if self._stopping.is_set():
            return _not("the daemon is stopping", Waits.STOP)
        if self.running:
            return _not("a run is under way", Waits.RUN)
        interval_s = self._terms.interval_s or 0.0
        if self._failed_at is not None and self._clock.monotonic() - self._failed_at < interval_s:
            return _not(f"the last attempt failed less than {interval_s:.0f} s ago", Waits.INTERVAL)
        return due(self._facts(), self._terms, now=self._clock.now())

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
