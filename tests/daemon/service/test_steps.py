"""The service's loops run until they are stopped or one of them ends it, each by itself."""

import asyncio

from connectors.errors import FatalError
from daemon.errors import ConfigError, HaltedError
from daemon.service.loops import AsyncLoop, Loop
from tests.daemon.service.bench import Bench
from tests.daemon.waiting import until


def test_loops_of_both_kinds_run_until_stopped(bench: Bench) -> None:
    """Each goes on at once while there is work; the stop is exit code 0."""
    counts = {"thread": 0, "coroutine": 0}

    def _step() -> int:
        counts["thread"] += 1
        return int(counts["thread"] < 100)

    async def _async_step() -> int:
        counts["coroutine"] += 1
        await asyncio.sleep(0)
        return int(counts["coroutine"] < 100)

    bench.start(Loop("thread", _step, 60), AsyncLoop("coroutine", _async_step, 60))
    until(lambda: counts == {"thread": 100, "coroutine": 100})
    assert bench.end() == 0


def test_no_loops_error_ends_the_service(bench: Bench) -> None:
    """Neither what a person must mend nor a bug, in either kind of loop: the others go on, and it shows."""
    steps = 0

    def _fatal() -> int:
        raise ConfigError("rlaifd.yaml: sources.0.topics: no such topic")

    def _broken() -> int:
        raise ZeroDivisionError("bug")

    async def _async_fatal() -> int:
        raise FatalError("401")

    def _working() -> int:
        nonlocal steps
        steps += 1
        return 0

    failing = (
        Loop("ingest", _fatal, 0.01),
        Loop("curate", _broken, 0.01),
        AsyncLoop("judge", _async_fatal, 0.01),
    )
    bench.start(*failing, Loop("rollout", _working, 0.01))
    until(lambda: all((bench.errors(loop.name) or 0) >= 2 for loop in failing))
    before = steps
    until(lambda: steps > before)
    assert len(bench.heartbeats.conditions()) == 3
    assert bench.end() == 0


def test_a_halted_loop_idles(bench: Bench) -> None:
    """The service goes on, nothing is counted, the daemon is ready."""
    calls = 0

    def _halted() -> int:
        nonlocal calls
        calls += 1
        raise HaltedError("judging is halted: cost")

    bench.start(Loop("judge", _halted, 0.001, awaited=True))
    until(lambda: calls > 2)
    assert calls < 20
    assert bench.errors("judge") == 0
    assert bench.heartbeats.conditions() == ()
    assert not any(pulse.awaited for pulse in bench.heartbeats.pulses())
    assert bench.end() == 0


def test_a_cancelled_step_is_not_the_end_of_its_loop(bench: Bench) -> None:
    """A library that cancels the step from within must not silence judging."""
    calls = 0

    async def _step() -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        return 0

    bench.start(AsyncLoop("judge", _step, 0.01))
    until(lambda: calls > 2)
    assert bench.errors("judge") == 1
    assert bench.end() == 0
