"""The demo's processes: started in sessions of their own, spoken to, and never left behind.

Every one is held by its standard input: when the demo dies, however it dies, that pipe closes and the process
ends. What cannot watch its own input is started by `orphan_guard.py`.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from pydantic import TypeAdapter

from policies.training.toy.agent import Said, ToyAnswers, ToyAsk, ToyFailed, ToyReady, ToyStep

GRACE_S: Final = 10.0
SAID: Final[TypeAdapter[ToyStep | ToyReady | ToyAnswers | ToyFailed]] = TypeAdapter(Said)


class PlayError(Exception):
    """The play cannot go on. The message is one line for a person."""


def environment(**more: str) -> dict[str, str]:
    """Our environment for the players: one thread each, no hub, and none of our own settings."""
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith("RLAIFD_")}
    quiet = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    return {**ours, **quiet, **more}


def rlaifd(*arguments: str) -> list[str]:
    """The command line of `rlaifd` in this very Python."""
    return [sys.executable, "-P", "-c", "from daemon.cli import main; main()", *arguments]


class Player:
    """A process that lives until `leave`. Its stdout is read as lines; its stderr goes to a file."""

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, more: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment(**(more or {})),
                start_new_session=True,
                text=True,
            )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def lines(self, timeout_s: float) -> Iterator[str]:
        """What it prints, line by line. Raises PlayError when it ends or says nothing for so long."""
        while True:
            try:
                line = self._lines.get(timeout=timeout_s)
            except queue.Empty:
                raise PlayError(f"{self.name} said nothing for {timeout_s:.0f} s; see {self._log}") from None
            if line is None:
                raise PlayError(f"{self.name} ended unexpectedly: {self.last_words()}")
            yield line

    def say(self, line: str) -> None:
        """Writes a line to its stdin."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:
            raise PlayError(f"{self.name} ended unexpectedly: {self.last_words()}") from None

    def left(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def last_words(self) -> str:
        """The last line of its log, and where the log is."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'no word'} ({self._log})"

    def leave(self) -> None:
        """Closes its stdin and waits; then ends its whole process group."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(GRACE_S)

    def _read(self, stdout: IO[str]) -> None:
        with stdout:
            for line in stdout:
                self._lines.put(line)
        self._lines.put(None)


class Agent:
    """The production agent: a resident process that answers with the adapter it is told to serve."""

    def __init__(self, job: Path, *, log: Path) -> None:
        command = [sys.executable, "-P", "-m", "policies.training.toy.resident", str(job)]
        self.player = Player("the agent", command, log=log)
        self._asked = 0

    def training(self, timeout_s: float = 300.0) -> Iterator[ToyStep | ToyReady]:
        """What it says while it is trained; ends with `ToyReady`."""
        for line in self.player.lines(timeout_s):
            said = SAID.validate_json(line)
            if isinstance(said, ToyStep | ToyReady):
                yield said
            if isinstance(said, ToyReady):
                return

    def answer(self, prompts: Sequence[str], *, seed: int, timeout_s: float = 120.0) -> ToyAnswers:
        """One answer per prompt, and the adapter that gave them. Raises PlayError."""
        self._asked += 1
        ask = ToyAsk(id=self._asked, prompts=tuple(prompts), seed=seed)
        self.player.say(ask.model_dump_json())
        said = SAID.validate_json(next(self.player.lines(timeout_s)))
        if isinstance(said, ToyAnswers) and said.id == ask.id:
            return said
        raise PlayError(f"the agent could not answer: {said.reason if isinstance(said, ToyFailed) else said}")


def judge_server(seed: int, *, log: Path) -> tuple[Player, int]:
    """The simulated judges, and the loopback port they listen on."""
    command = [sys.executable, "-P", "-m", "daemon.demo.judge_server", "--seed", str(seed)]
    player = Player("the judge server", command, log=log)
    said: dict[str, Any] = json.loads(next(player.lines(60.0)))
    return player, int(said["port"])


def on_leash(
    name: str, command: Sequence[str], *, log: Path, more: Mapping[str, str] | None = None
) -> Player:
    """A process that does not watch its stdin, held by one that does."""
    return Player(
        name, [sys.executable, "-P", "-m", "daemon.demo.orphan_guard", *command], log=log, more=more
    )
