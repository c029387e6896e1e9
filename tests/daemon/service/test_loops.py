"""What a loop does after a step, by what the step answered or raised."""

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from connectors.errors import FatalError, RateLimitedError, TransientError
from daemon.clock import Clock, FakeClock
from daemon.errors import ConfigError, HaltedError, RefusedError, RlaifdError, SourceStoppedError, line_of
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.service.health import Heartbeats
from daemon.service.loops import Loop, Pace
from daemon.store.store import StoreError


def pace(clock: Clock, idle_s: float = 1.0) -> tuple[Pace, Metrics]:
    metrics = Metrics()
    loop = Loop("ingest", lambda: 0, idle_s)
    return Pace(loop, heartbeats=Heartbeats(clock), metrics=metrics, log=get("service")), metrics


def database_error(kind: type[OperationalError | IntegrityError]) -> Exception:
    return kind("INSERT INTO trace VALUES (?)", ["a customer's secret"], ValueError("database is locked"))


def test_a_step_that_did_work_is_followed_at_once(clock: FakeClock) -> None:
    """And one that found none is followed after the idle time."""
    made, _ = pace(clock, idle_s=7.0)
    assert (made.worked(3), made.worked(0)) == (0.0, 7.0)


@pytest.mark.parametrize(
    "error",
    [TransientError("no broker"), StoreError("store: gone"), database_error(OperationalError)],
    ids=lambda error: type(error).__name__,
)
def test_passing_errors_back_off_for_ever(clock: FakeClock, error: Exception) -> None:
    """Longer each time with jitter, within bounds; a success starts over."""
    made, metrics = pace(clock)
    waits = [made.failed(error) for _ in range(100)]
    assert 0.25 <= waits[0] <= 0.5
    assert 1.0 <= waits[2] <= 2.0
    assert all(15.0 <= wait <= 30.0 for wait in waits[7:])
    assert len(set(waits[10:])) > 50
    assert metrics.registry.get_sample_value("rlaifd_stage_errors_total", {"stage": "ingest"}) == 100
    made.worked(1)
    assert made.failed(error) <= 0.5


def test_a_rate_limit_is_waited_out_within_the_bound(clock: FakeClock) -> None:
    """The other side's wish counts, but an absurd one does not make the loop look stuck."""
    assert pace(clock)[0].failed(RateLimitedError("429", 12.0)) == 12.0
    assert pace(clock)[0].failed(RateLimitedError("429", 86_400.0)) == 30.0


@pytest.mark.parametrize(
    "error", [FatalError("401 from the judge"), ConfigError("x.yaml: y: z"), RlaifdError("no")], ids=str
)
def test_errors_that_need_a_person_are_tried_again(clock: FakeClock, error: Exception) -> None:
    """They show and are counted until a step goes through: no part's trouble is the whole's end."""
    made, metrics = pace(clock)
    waits = [made.failed(error) for _ in range(20)]
    assert all(15.0 <= wait <= 30.0 for wait in waits[7:])
    assert metrics.registry.get_sample_value("rlaifd_stage_errors_total", {"stage": "ingest"}) == 20
    assert made.worked(1) == 0.0
    assert made.failed(error) <= 0.5


def test_a_source_that_waits_for_a_person_is_no_error(clock: FakeClock) -> None:
    """It looks again every second, and keeps nothing from being ready: it did what it can."""
    beats, metrics = Heartbeats(clock), Metrics()
    loop = Loop("ingest:a", lambda: 0, 0.0, awaited=True)
    made = Pace(loop, heartbeats=beats, metrics=metrics, log=get("service"))
    assert {made.failed(SourceStoppedError("50 records in a row")) for _ in range(50)} == {1.0}
    assert metrics.registry.get_sample_value("rlaifd_stage_errors_total", {"stage": "ingest:a"}) == 0
    assert not any(pulse.awaited for pulse in beats.pulses())


@pytest.mark.parametrize("error", [HaltedError("training is halted"), RefusedError("no")])
def test_a_refusal_is_no_error(clock: FakeClock, error: RefusedError) -> None:
    """The loop idles; nothing is counted, however often."""
    made, metrics = pace(clock, idle_s=3.0)
    assert {made.failed(error) for _ in range(50)} == {3.0}
    assert metrics.registry.get_sample_value("rlaifd_stage_errors_total", {"stage": "ingest"}) == 0


@pytest.mark.parametrize("error", [ZeroDivisionError("bug"), database_error(IntegrityError)])
def test_a_bug_is_tried_again_for_ever(
    clock: FakeClock, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """With backoff, as a condition, and with its trace in the log once and not every time."""
    made, metrics = pace(clock)
    waits = [made.failed(error) for _ in range(50)]
    assert all(15.0 <= wait <= 30.0 for wait in waits[7:])
    assert metrics.registry.get_sample_value("rlaifd_stage_errors_total", {"stage": "ingest"}) == 50
    assert sum("step_broke" in str(record.msg) for record in caplog.records) <= 1


def test_a_database_error_is_shown_without_the_rows() -> None:
    """Its full text holds the parameters, and those hold people's words."""
    assert line_of(database_error(IntegrityError)) == "ValueError: database is locked"
