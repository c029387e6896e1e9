"""A daemon as a process of its own, which is killed, ended and paused."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.command import RLAIFD

END_S = 120.0
"""For an orderly end, on a busy machine."""


class Victim:
    """A daemon with the configuration, started again and again. Its log is `daemon.log` beside it.

    `fell` counts how often it ended by itself, `badly` how often SIGTERM did not end it with 0.
    """

    def __init__(self, config: Path) -> None:
        self.config = config
        self.fell = self.badly = 0
        self._log = config.parent / "daemon.log"
        self._said = 0
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator["Victim"]:
        """Started while inside; it is made sure that nothing of it is left."""
        self.start()
        try:
            yield self
        finally:
            self.resume()
            self.kill()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._said = log.tell()
            self._process = subprocess.Popen(
                [RLAIFD, "run", "-c", self.config],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stand(self) -> None:
        """Starts it again where it ended by itself, as a supervisor would."""
        if not self.up:
            self.fell += 1
            self.start()

    @property
    def started(self) -> bool:
        """Whether all its loops are at work. Before that it may be ended by the signal itself."""
        return b"service_started" in self._log.read_bytes()[self._said :]

    @property
    def up(self) -> bool:
        """Whether it has not ended."""
        return self._running.poll() is None

    def kill(self) -> None:
        """As `kill -9` does. Answers when the process is gone."""
        self._running.kill()
        self._running.wait()

    def end(self) -> None:
        """Asks it to end, and waits for it. One that does not is killed."""
        self._running.send_signal(signal.SIGTERM)
        try:
            self.badly += self._running.wait(END_S) != 0
        except subprocess.TimeoutExpired:
            self.badly += 1
            self.kill()

    def pause(self) -> None:
        """It stands still amid whatever it does, with every connection open."""
        self._running.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running.send_signal(signal.SIGCONT)

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "it was never started"
        return self._process
