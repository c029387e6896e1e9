"""Systemd hears of a service whose loops are alive, and of nothing else."""

import socket
import threading
from pathlib import Path
from typing import Self

from daemon.clock import FakeClock
from daemon.service.loops import Loop
from daemon.service.systemd import Notifier
from tests.daemon.service.bench import Bench
from tests.daemon.waiting import until


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


def test_a_stuck_loop_shows_and_the_watchdog_falls_silent(tmp_path: Path) -> None:
    """Systemd restarts a daemon whose loop hangs; the other loops still beat."""
    clock = FakeClock()
    bench = Bench(tmp_path / "state", clock=clock)
    held = threading.Event()
    with Ear(tmp_path) as ear:
        bench.start(
            Loop("stuck", lambda: int(held.wait(90)), 0.01, bound_s=10),
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


def test_nobody_to_notify_is_no_harm(tmp_path: Path) -> None:
    """Without systemd, and with a socket that is gone."""
    assert not Notifier({}).tell("READY=1")
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")
