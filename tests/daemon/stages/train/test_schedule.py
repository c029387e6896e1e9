"""When training starts."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from daemon.clock import FakeClock
from daemon.errors import HaltedError
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.stages.train.schedule import Harvest, Schedule, Situation, StartTerms, TurningPoint, Waits, due
from tests.daemon.waiting import until

NOW = 1_700_000_000.0
CUT_OFF = "a run that was cut off goes on from its checkpoint"
TERMS = StartTerms(interval_s=3600.0, min_new=256, min_preferences=64, cooldown_s=600.0)


def holds(kept: int = 300, **facts: str) -> Callable[[], Harvest]:
    return lambda: Harvest(kept, **facts)


READY = Situation(last_start=None, new_preferences=300, halted=False, running=False, material=holds())


@pytest.mark.parametrize(
    ("change", "yes", "reason"),
    [
        ({}, True, "300 new preferences"),
        ({"halted": True}, False, "training is halted"),
        ({"running": True}, False, "a run is under way"),
        ({"new_preferences": 255}, False, "255 new preferences of 256"),
        ({"new_preferences": 256}, True, "256 new preferences"),
        ({"last_start": NOW - 3599}, False, "the last run started less than 3600 s ago"),
        ({"last_start": NOW - 3600}, True, "300 new preferences"),
        ({"last_start": NOW + 60}, False, "the last run started less than 3600 s ago"),
        ({"last_start": NOW + 86_400}, True, "300 new preferences"),
        ({"last_start": NOW - 86_400 * 30}, True, "300 new preferences"),
        ({"halted": True, "new_preferences": 0}, False, "training is halted"),
        (
            {"turn": TurningPoint(NOW - 500, "the adapter in force changed")},
            False,
            "the adapter in force changed less than training.cooldown_s (600) ago: 100 s are left",
        ),
        (
            {"turn": TurningPoint(NOW + 300, "a run failed")},
            False,
            "a run failed less than training.cooldown_s (600) ago: 600 s are left",
        ),
        ({"turn": TurningPoint(NOW - 600, "the gate rejected an adapter")}, True, "300 new preferences"),
        ({"turn": TurningPoint(NOW + 86_400, "a run failed")}, True, "300 new preferences"),
        ({"material": holds(64)}, True, "300 new preferences"),
        (
            {"material": holds(50, left_out="445 of one")},
            False,
            "a snapshot would hold 50 pairs of training.min_preferences (64); left out: 445 of one",
        ),
        (
            {"material": holds(rejected="the gate rejected a-1, which run r made of these pairs")},
            False,
            "the gate rejected a-1, which run r made of these pairs: the same recipe waits for other data",
        ),
        ({"cut_off": True, "new_preferences": 0, "last_start": NOW - 5}, True, CUT_OFF),
        ({"cut_off": True, "halted": True}, False, "training is halted"),
        ({"cut_off": True, "running": True}, False, "a run is under way"),
        ({"released": True, "new_preferences": 0}, True, "a reward model was released"),
        ({"released": True, "last_start": NOW - 60}, False, "the last run started less than 3600 s ago"),
    ],
)
def test_due(change: dict[str, object], yes: bool, reason: str) -> None:
    """Every reason to start and not to, the clock's jumps among them."""
    decision = due(replace(READY, **change), TERMS, now=NOW)  # type: ignore[arg-type]
    assert (decision.yes, decision.reason) == (yes, reason)
    assert (decision.waits is Waits.NOTHING) == yes


def test_what_a_run_would_learn_from_is_looked_at_last() -> None:
    """It is the dear look, and nobody takes it while anything else keeps a run from starting."""

    def dear() -> Harvest:
        raise AssertionError("looked at")

    changes: list[dict[str, object]] = [
        {"leads": False},
        {"halted": True},
        {"running": True},
        {"last_start": NOW},
        {"turn": TurningPoint(NOW, "a run failed")},
        {"new_preferences": 255},
    ]
    kinds = []
    for change in changes:
        facts = replace(READY, material=dear, **change)  # type: ignore[arg-type]
        kinds.append(due(facts, TERMS, now=NOW).waits)
    kinds.append(due(replace(READY, material=dear), replace(TERMS, interval_s=None), now=NOW).waits)
    assert kinds == [
        *(Waits.LEAD, Waits.HALT, Waits.RUN, Waits.INTERVAL, Waits.COOLDOWN, Waits.NEW_PREFERENCES),
        Waits.PEOPLE,
    ]


@dataclass
class Bench:
    """A schedule with a training that the test holds and releases."""

    clock: FakeClock
    facts: Situation = READY
    started: int = 0
    error: Exception | None = None
    hold: threading.Event = field(default_factory=threading.Event)
    metrics: Metrics = field(default_factory=Metrics)

    def train(self) -> None:
        self.started += 1
        self.hold.wait(30)
        if self.error is not None:
            raise self.error

    def read(self) -> Situation:
        return self.facts

    def schedule(self, interval_s: float | None = 3600.0) -> Schedule:
        return Schedule(
            terms=replace(TERMS, interval_s=interval_s),
            facts=self.read,
            train=self.train,
            clock=self.clock,
            metrics=self.metrics,
            log=get("schedule"),
        )

    def errors(self) -> float | None:
        return self.metrics.registry.get_sample_value("rlaifd_stage_errors_total", {"stage": "training"})


@pytest.fixture
def bench(clock: FakeClock) -> Iterator[Bench]:
    made = Bench(clock)
    yield made
    made.hold.set()


def test_one_run_at_a_time(bench: Bench) -> None:
    """While the thread lives nothing else starts, whatever the store says."""
    schedule = bench.schedule()
    assert schedule.ask().yes
    assert schedule.ask().reason == "a run is under way"
    bench.hold.set()
    until(lambda: not schedule.running)
    assert bench.started == 1
    assert schedule.ask().yes


def test_the_scheduler_itself_asks(bench: Bench) -> None:
    """The real APScheduler, at a short interval: one run, although many ticks pass while it goes on."""
    schedule = bench.schedule(interval_s=0.01)
    schedule.start()
    until(lambda: bench.started == 1)
    until(lambda: schedule.ask().reason == "a run is under way")
    bench.facts = replace(READY, halted=True)
    bench.hold.set()
    until(lambda: not schedule.running)
    schedule.stop(5)
    assert bench.started == 1


def test_stopping_waits_for_the_run_and_starts_none(bench: Bench) -> None:
    """No run is orphaned, and none begins after."""
    schedule = bench.schedule(interval_s=0.01)
    schedule.start()
    until(lambda: bench.started == 1)
    threading.Timer(0.1, bench.hold.set).start()
    schedule.stop(20)
    assert not schedule.running
    assert schedule.ask().reason == "the daemon is stopping"
    assert bench.started == 1


def test_stopping_gives_up_after_its_time(bench: Bench) -> None:
    """A run that does not end is left to the end of the process."""
    schedule = bench.schedule()
    schedule.ask()
    schedule.stop(0.01)
    assert schedule.running


def test_a_broken_run_is_counted_and_not_tried_at_once(bench: Bench, clock: FakeClock) -> None:
    """It is tried again after the interval."""
    bench.error = ValueError("no such model")
    bench.hold.set()
    schedule = bench.schedule()
    schedule.ask()
    until(lambda: not schedule.running)
    assert bench.errors() == 1
    assert schedule.ask().reason == "the last attempt failed less than 3600 s ago"
    clock.advance(3600)
    assert schedule.ask().yes


def test_a_refused_run_is_no_error(bench: Bench) -> None:
    """A halt between asking and starting is an answer."""
    bench.error = HaltedError("training is halted: KL")
    bench.hold.set()
    schedule = bench.schedule()
    schedule.ask()
    until(lambda: not schedule.running)
    assert not bench.errors()


def test_an_unreadable_store_starts_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted, and the next tick asks again."""

    def _broken() -> Situation:
        raise RuntimeError("gone")

    schedule = bench.schedule()
    monkeypatch.setattr(schedule, "_facts", _broken)
    assert schedule.ask().reason == "RuntimeError: gone"
    assert bench.errors() == 1
    assert bench.started == 0


def test_without_an_interval_only_people_start_runs(bench: Bench) -> None:
    """Starting and stopping do nothing."""
    schedule = bench.schedule(interval_s=None)
    schedule.start()
    schedule.stop(1)
    assert bench.started == 0
