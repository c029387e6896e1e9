"""Kills a forked process at a chosen moment of its work, and starts what does so again and again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def kill_one(work: Callable[[int], None], delay_s: float) -> None:
    """Forks, lets the child do its work, kills it so long after it was ready, and waits for its end.

    `work` writes one byte to the descriptor it is given when it is ready, and never returns. Only for a
    process without threads.
    """
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        work(told)
        os._exit(1)
    os.close(told)
    os.read(ready, 1)
    os.close(ready)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "the child ended by itself"


def sweep(module: ModuleType, directory: Path, kills: int) -> Any:
    """Runs the module as a process of its own, which kills that often; what it answers as JSON."""
    command = [sys.executable, "-m", module.__name__, str(directory), str(kills)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)
