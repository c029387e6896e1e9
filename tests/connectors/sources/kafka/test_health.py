"""A source's trouble is told until it is over, and tried again ever more slowly."""

import pytest

from connectors.errors import FatalError, TransientError
from connectors.sources.kafka import health as kafka_health
from connectors.sources.kafka.health import FATAL_RETRY_S, JOIN_S, LONGEST_RETRY_S, WELL_S, Health


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test moves."""
    time = [0.0]
    monkeypatch.setattr(kafka_health, "monotonic", lambda: time[0])
    return time


def test_a_trouble_ends_with_a_poll_that_went_well(now: list[float]) -> None:
    """And not by being told."""
    health = Health("kafka b:1", "g")
    health.failed(TransientError("no broker"))
    for _ in range(3):
        with pytest.raises(TransientError, match="no broker"):
            health.explain()
        health.polled(well=False, received=False)
    now[0] += 1
    health.polled(well=True, received=False)
    health.explain()


def test_until_the_group_was_joined_it_is_waited_for() -> None:
    """A little longer than for a record, and then told: whoever asks learns that nothing is read yet."""
    health = Health("kafka b:1", "g")
    assert health.patience(0.5) == JOIN_S
    with pytest.raises(TransientError, match="not in group 'g' yet"):
        health.explain()
    health.polled(well=True, received=False)
    assert health.patience(0.5) == 0.5
    health.explain()


def test_what_a_person_must_mend_is_surely_over(now: list[float]) -> None:
    """One poll that finds nothing says little; records, or a while of such polls, do."""
    for received in (True, False):
        health = Health("kafka b:1", "g")
        health.failed(FatalError("password"))
        health.failed(TransientError("no broker"))
        assert health.pause() == FATAL_RETRY_S
        health.polled(well=True, received=False)
        with pytest.raises(FatalError, match="password"):
            health.explain()
        now[0] += WELL_S * (not received)
        health.polled(well=True, received=received)
        health.explain()


def test_attempts_become_rarer_until_one_goes_well() -> None:
    """Up to a bound."""
    health = Health("kafka b:1", "g")
    assert [health.pause() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, LONGEST_RETRY_S, LONGEST_RETRY_S]
    health.polled(well=True, received=False)
    assert health.pause() == 1.0
