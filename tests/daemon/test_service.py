"""The service's life, with fake loops in real threads and real signals to a real process."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from connectors.errors import FatalError, RateLimitedError, TransientError
from daemon.clock import Clock, FakeClock, SystemClock
from daemon.errors import ConfigError, HaltedError, RefusedError, RlaifdError
from daemon.health import Heartbeats
from daemon.log import get
from daemon.loops import MOST_UNEXPECTED, AsyncLoop, Ended, Loop, Pace, line_of
from daemon.metrics import Metrics
from daemon.service import Service
from daemon.store.store import StoreError
from daemon.systemd import Notifier
from tests.daemon.waiting import until


@dataclass
class Bench:
    """A service in a thread."""

    state_dir: Path
    clock: Clock = field(default_factory=SystemClock)
    metrics: Metrics = field(default_factory=Metrics)
    code: int | None = None
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.heartbeats = Heartbeats(self.clock)

    def start(self, *loops: Loop | AsyncLoop, **named: Any) -> Service:
        self.service = Service(
            loops=loops,
            state_dir=self.state_dir,
            heartbeats=self.heartbeats,
            metrics=self.metrics,
            clock=self.clock,
            log=get("service"),
            **named,
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self.service

    def _run(self) -> None:
        try:
            self.code = self.service.run()
        except RlaifdError as error:
            self.error = error

    def end(self, *, stop: bool = True) -> int | None:
        if stop:
            self.service.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.code

    def errors(self, stage: str) -> float | None:
        return self.metrics.registry.get_sample_value("rlaifd_stage_errors_total", {"stage": stage})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "state")


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


def test_a_stuck_loop_shows_and_the_watchdog_falls_silent(tmp_path: Path) -> None:
    """Systemd restarts a daemon whose loop hangs; the other loops still beat."""
    clock = FakeClock()
    bench = Bench(tmp_path / "state", clock=clock)
    held = threading.Event()
    with Ear(tmp_path) as ear:
        bench.start(
            Loop("stuck", lambda: int(held.wait(30)), 0.01, bound_s=10),
            Loop("lively", lambda: 0, 0.01, bound_s=10),
            notifier=Notifier({"NOTIFY_SOCKET": ear.path, "WATCHDOG_USEC": "100000"}),
        )
        until(lambda: "WATCHDOG=1" in ear.heard())
        clock.advance(41)
        until(lambda: [pulse.name for pulse in bench.heartbeats.stale()] == ["stuck"])
        ear.forget()
        until(lambda: ear.quiet_for(0.3))
        held.set()
        until(lambda: "WATCHDOG=1" in ear.heard())
        assert bench.end() == 0
        assert ear.heard()[-1] == "STOPPING=1"


class Ear:
    """The other end of systemd's notification socket."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)
        self._messages: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def heard(self) -> list[str]:
        while True:
            try:
                self._messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return list(self._messages)

    def forget(self) -> None:
        self.heard()
        self._messages.clear()

    def quiet_for(self, seconds: float) -> bool:
        self.forget()
        threading.Event().wait(seconds)
        return self.heard() == []


def test_the_stop_is_in_order(bench: Bench) -> None:
    """Training is asked first, steps end, then listener, sources, judges and store close."""
    order: list[str] = []

    class Part:
        def __init__(self, name: str) -> None:
            self.name = name

        def start(self) -> None:
            order.append(f"start {self.name}")

        def stop(self, timeout_s: float) -> None:
            assert timeout_s > 0
            order.append(f"stop {self.name}")

    asked = threading.Event()
    running = threading.Event()

    def _step() -> int:
        running.set()
        asked.wait(20)
        order.append("step")
        return 0

    async def _judges() -> None:
        await asyncio.sleep(0)
        order.append("judges")

    bench.start(
        Loop("evaluate", _step, 60),
        listener=Part("listener"),
        schedule=Part("schedule"),
        stop_training=asked.set,
        closers=[
            ("source", lambda: order.append("source")),
            ("judges", _judges),
            ("store", lambda: order.append("store")),
        ],
    )
    running.wait(10)
    assert bench.end() == 0
    assert order[:2] == ["start listener", "start schedule"]
    assert sorted(order[2:4]) == ["step", "stop schedule"]
    assert order[4:] == ["stop listener", "source", "judges", "store"]


def test_the_grace_is_bounded(bench: Bench) -> None:
    """Steps that do not end are left behind or cancelled; a broken closer keeps no other from its turn."""
    held = threading.Event()
    cancelled: list[bool] = []
    closed: list[str] = []

    async def _endless() -> int:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return 0

    def _broken() -> None:
        raise OSError("no")

    bench.start(
        Loop("endless", lambda: int(held.wait(60)), 1),
        AsyncLoop("endless-too", _endless, 1),
        grace_s=0.2,
        closers=[("broken", _broken), ("store", lambda: closed.append("store"))],
    )
    until(lambda: len(bench.heartbeats.pulses()) == 2)
    assert bench.end() == 0
    held.set()
    assert closed == ["store"]
    until(lambda: cancelled == [True])


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


def test_a_listener_that_cannot_start_ends_the_start(bench: Bench) -> None:
    """The error reaches the command; what was opened is closed."""
    closed: list[str] = []

    class Taken:
        def start(self) -> None:
            raise RlaifdError("web.port 9464: Address already in use")

        def stop(self, timeout_s: float) -> None:
            closed.append("listener")

    async def _judges() -> None:
        closed.append("judges")

    bench.start(listener=Taken(), closers=[("judges", _judges)])
    bench.end(stop=False)
    assert "Address already in use" in str(bench.error)
    assert closed == ["listener", "judges"]


def test_one_daemon_a_state_directory(bench: Bench) -> None:
    """The second is refused with the first one's process id, and starts nothing."""
    stepped: list[str] = []
    bench.start(Loop("first", lambda: len(stepped.append("first") or []), 60))  # type: ignore[func-returns-value]
    until(lambda: stepped == ["first"])
    second = Bench(bench.state_dir)
    second.start(prepare=lambda: stepped.append("second"))
    second.end(stop=False)
    assert f"(pid {os.getpid()})" in str(second.error)
    assert "another rlaifd runs on this state directory" in str(second.error)
    assert second.error is not None
    assert getattr(second.error, "exit_code", None) == 1
    assert bench.end() == 0
    assert stepped == ["first"]
    third = Bench(bench.state_dir)
    third.start()
    assert third.end() == 0


CHILD = textwrap.dedent("""
    import sys, threading, time
    from pathlib import Path
    from daemon.clock import SystemClock
    from daemon.health import Heartbeats
    from daemon.log import configure, get
    from daemon.loops import AsyncLoop, Loop
    from daemon.metrics import Metrics
    from daemon.service import Service
    import asyncio

    configure("info", "json")

    def say(word):
        print(word, flush=True)

    asked = threading.Event()

    def step():
        say("step begun")
        asked.wait(30)
        time.sleep(0.2)
        say("step done")
        return 0

    async def judge():
        await asyncio.sleep(0.01)
        return 0

    clock = SystemClock()
    service = Service(
        loops=[Loop("step", step, 60), AsyncLoop("judge", judge, 0.01)], state_dir=Path(sys.argv[1]),
        heartbeats=Heartbeats(clock), metrics=Metrics(), clock=clock, log=get("service"),
        stop_training=asked.set if sys.argv[2] == "gentle" else lambda: None,
        closers=[("store", lambda: say("closed"))], grace_s=20.0,
    )
    sys.exit(service.run())
""")


def child(folder: Path, manner: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", CHILD, str(folder), manner]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def lines(process: "subprocess.Popen[str]", wanted: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if wanted in line:
            return
    pytest.fail(f"ended without {wanted!r}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_process_within_its_grace(tmp_path: Path, number: signal.Signals) -> None:
    """The step under way is done, the store closed, the exit code 0; SIGHUP before it changes nothing."""
    with child(tmp_path, "gentle") as process:
        lines(process, "step begun")
        process.send_signal(signal.SIGHUP)
        lines(process, "reload_unsupported")
        process.send_signal(number)
        assert process.stdout is not None
        rest = process.stdout.read()
        assert process.wait(15) == 0
    words = [line for line in rest.splitlines() if line in {"step done", "closed"}]
    assert words == ["step done", "closed"]


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """While the first is still waiting for a step."""
    with child(tmp_path, "stubborn") as process:
        lines(process, "step begun")
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 143


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    """Kill -9, and the next one starts."""
    for _ in range(2):
        with child(tmp_path, "gentle") as process:
            lines(process, "step begun")
            process.kill()


def test_nobody_to_notify_is_no_harm(tmp_path: Path) -> None:
    """Without systemd, and with a socket that is gone."""
    assert not Notifier({}).tell("READY=1")
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")
