"""Heartbeats and readiness."""

from daemon.clock import FakeClock
from daemon.service.health import Heartbeats


def test_a_loop_is_stale_past_its_bound_until_it_beats(clock: FakeClock) -> None:
    """Each loop by its own bound."""
    beats = Heartbeats(clock)
    beats.expect("ingest", bound_s=10)
    beats.expect("evaluate", bound_s=600)
    clock.advance(10)
    assert beats.stale() == ()
    clock.advance(1)
    assert [pulse.name for pulse in beats.stale()] == ["ingest"]
    assert beats.conditions() == ("ingest: stuck for 11 s (bound 10 s)",)
    beats.beat("ingest")
    assert beats.stale() == ()


def test_failures_count_until_a_step_goes_through(clock: FakeClock) -> None:
    """Failing is a condition, not staleness."""
    beats = Heartbeats(clock)
    beats.expect("judge", bound_s=10)
    assert [beats.failed("judge", "429"), beats.failed("judge", "503")] == [1, 2]
    assert beats.conditions() == ("judge: failed 2 times in a row: 503",)
    assert beats.stale() == ()
    beats.passed("judge")
    assert beats.conditions() == ()


def test_an_unexpected_beat_is_no_loop(clock: FakeClock) -> None:
    """Steps may beat when they run outside the service, as commands do."""
    beats = Heartbeats(clock)
    beats.beat("judge")
    beats.passed("judge")
    assert beats.failed("judge", "503") == 1
    assert beats.pulses() == ()


def test_a_clock_set_back_makes_nothing_stale(clock: FakeClock) -> None:
    """Ages are never negative."""
    beats = Heartbeats(clock)
    beats.expect("ingest", bound_s=10)
    clock.advance(-3600)
    assert [pulse.age_s for pulse in beats.pulses()] == [0.0]
