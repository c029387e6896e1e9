"""The service starts alone on its state directory, and stops in order and in bounded time."""

import asyncio
import os
import threading

from daemon.errors import RlaifdError
from daemon.service.loops import AsyncLoop, Loop
from tests.daemon.service.bench import Bench
from tests.daemon.waiting import until


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
        asked.wait(60)
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
    running.wait(60)
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


def test_what_is_left_in_hand_is_finished_within_the_grace(bench: Bench) -> None:
    """After the last step; one that takes longer is cancelled, and one that fails keeps nobody waiting."""
    told: list[str] = []

    async def _step() -> int:
        return 0

    async def _finish() -> None:
        told.append("finished")

    async def _fails() -> None:
        raise OSError("away")

    async def _hangs() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            told.append("cancelled")

    bench.start(
        AsyncLoop("quick", _step, 1, finish=_finish),
        AsyncLoop("broken", _step, 1, finish=_fails),
        AsyncLoop("slow", _step, 1, finish=_hangs),
        grace_s=0.2,
    )
    until(lambda: len(bench.heartbeats.pulses()) == 3)
    assert bench.end() == 0
    until(lambda: sorted(told) == ["cancelled", "finished"])
    assert bench.errors("broken") == 1
