"""The service's loops run until they are stopped or one of them ends it, each by itself."""

import asyncio
from pathlib import Path

from connectors.errors import FatalError
from daemon.errors import ConfigError, HaltedError
from daemon.loops import AsyncLoop, Loop
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


def test_a_fatal_error_in_either_kind_ends_the_service(bench: Bench, tmp_path: Path) -> None:
    """With the error's exit code; the closers still run."""

    def _fatal() -> int:
        raise ConfigError("rlaifd.yaml: sources.0.topics: no such topic")

    async def _async_fatal() -> int:
        raise FatalError("401")

    closed: list[str] = []
    bench.start(Loop("ingest", _fatal, 1), closers=[("source", lambda: closed.append("source"))])
    assert bench.end(stop=False) == 2
    assert closed == ["source"]
    other = Bench(tmp_path / "other")
    other.start(AsyncLoop("judge", _async_fatal, 1))
    assert other.end(stop=False) == 1


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
