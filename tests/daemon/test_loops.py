"""What a loop does after a step, by what the step answered or raised."""

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from connectors.errors import FatalError, RateLimitedError, TransientError
from daemon.clock import Clock, FakeClock
from daemon.errors import ConfigError, HaltedError, RefusedError, RlaifdError
from daemon.health import Heartbeats
from daemon.log import get
from daemon.loops import MOST_UNEXPECTED, Ended, Loop, Pace, line_of
from daemon.metrics import Metrics
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
    pauses = [made.failed(error) for _ in range(100)]
    assert all(isinstance(pause, float) for pause in pauses)
    waits = [pause for pause in pauses if isinstance(pause, float)]
    assert 0.25 <= waits[0] <= 0.5
    assert 1.0 <= waits[2] <= 2.0
    assert all(15.0 <= wait <= 30.0 for wait in waits[7:])
    assert len(set(waits[10:])) > 50
    assert metrics.registry.get_sample_value("rlaifd_stage_errors_total", {"stage": "ingest"}) == 100
    made.worked(1)
    again = made.failed(error)
    assert isinstance(again, float)
    assert again <= 0.5


def test_a_rate_limit_is_waited_out_within_the_bound(clock: FakeClock) -> None:
    """The other side's wish counts, but an absurd one does not make the loop look stuck."""
    assert pace(clock)[0].failed(RateLimitedError("429", 12.0)) == 12.0
    assert pace(clock)[0].failed(RateLimitedError("429", 86_400.0)) == 30.0


@pytest.mark.parametrize(
    ("error", "code"),
    [(FatalError("401 from the judge"), 1), (ConfigError("x.yaml: y: z"), 2), (RlaifdError("no"), 1)],
)
def test_errors_that_need_a_person_end_the_service(clock: FakeClock, error: Exception, code: int) -> None:
    """With the error's own line and exit code."""
    assert pace(clock)[0].failed(error) == Ended(f"ingest: {error}", code)


@pytest.mark.parametrize("error", [HaltedError("training is halted"), RefusedError("no")])
def test_a_refusal_is_no_error(clock: FakeClock, error: RefusedError) -> None:
    """The loop idles; nothing is counted, however often."""
    made, metrics = pace(clock, idle_s=3.0)
    assert {made.failed(error) for _ in range(50)} == {3.0}
    assert metrics.registry.get_sample_value("rlaifd_stage_errors_total", {"stage": "ingest"}) == 0


@pytest.mark.parametrize("error", [ZeroDivisionError("bug"), database_error(IntegrityError)])
def test_a_bug_is_tried_ten_times_in_a_row(clock: FakeClock, error: Exception) -> None:
    """Then the service ends with 1. A success in between starts the count again."""
    made, _ = pace(clock)
    for _ in range(MOST_UNEXPECTED - 1):
        assert isinstance(made.failed(error), float)
    made.worked(0)
    answers = [made.failed(error) for _ in range(MOST_UNEXPECTED)]
    assert all(isinstance(answer, float) for answer in answers[:-1])
    last = answers[-1]
    assert isinstance(last, Ended)
    assert last.exit_code == 1
    assert "failed 10 times in a row" in last.reason


def test_a_database_error_is_shown_without_the_rows() -> None:
    """Its full text holds the parameters, and those hold people's words."""
    assert line_of(database_error(IntegrityError)) == "ValueError: database is locked"
