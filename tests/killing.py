"""Kills a forked process at a chosen moment of its work."""

import os
import signal
import time
from collections.abc import Callable


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
    os.waitpid(child, 0)
