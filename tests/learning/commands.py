"""`rlaifd` as a person or a script runs it: one command to its end, with what it printed and what it took."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from daemon.demo.processes import environment, rlaifd


class LearnError(Exception):
    """The programme cannot go on, or what it is to show did not happen. One line for a person."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended. `peak_mb` is the largest resident size of it and of any process below it."""

    code: int
    out: str
    said: str
    """Its last line: on stdout, or on stderr where it failed."""
    seconds: float
    peak_mb: float


def run(*arguments: str, config: Path) -> Done:
    """Runs a command in the configuration's directory; its stderr is kept in `log/<command>.log`."""
    log = config.parent / "log" / f"{arguments[0]}.log"
    log.parent.mkdir(exist_ok=True)
    # On a leash: whoever kills this programme, nothing is left running.
    command = [sys.executable, "-P", "-m", "daemon.demo.orphan_guard", *rlaifd(*arguments, "-c", str(config))]
    started = time.monotonic()
    with log.open("w+", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            command,
            cwd=config.parent,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            out = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            process.stdin.close()
            process.stdout.close()
            process.wait()
        stderr.seek(0)
        errors = stderr.read()
    peak_mb = usage.ru_maxrss * 1024 / 1e6
    said = _last(out if process.returncode == 0 else errors) or _last(out)
    return Done(process.returncode, out, said, time.monotonic() - started, peak_mb)


def must(*arguments: str, config: Path) -> Done:
    """The same; raises LearnError with the command's last line unless it ends with 0."""
    done = run(*arguments, config=config)
    if done.code != 0:
        raise LearnError(f"rlaifd {' '.join(arguments)} ended with {done.code}: {done.said}")
    return done


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
