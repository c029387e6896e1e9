"""A training of two processes that runs until it is stopped or killed."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from daemon.children.child import Child, ChildFailedError
from policies.launch import Launch
from policies.training.jobs import Progress, TrainJob, TrainResult
from tests.daemon.children.test_child import alive, wait_for
from tests.policies.training.conftest import GUARDS, RECIPE

JobFor = Callable[..., TrainJob]
Victim = Literal["launcher", "first", "second"]
TWO = Launch(processes=2)
SHORT = RECIPE.model_copy(update={"batch_size": 4, "gradient_accumulation": 2, "checkpoint_steps": 2})
LONG = SHORT.model_copy(update={"max_steps": 60_000})


def endless(job_for: JobFor) -> TrainJob:
    """A job that nobody waits for the end of."""
    return job_for(recipe=LONG, guards=GUARDS.model_copy(update={"every_steps": 60_000}), launch=TWO)


def processes_of(launcher: int) -> list[int]:
    """The launcher's own children, as Linux tells them."""
    tasks = Path(f"/proc/{launcher}/task")
    found = [(task / "children").read_text(encoding="ascii").split() for task in tasks.iterdir()]
    return [int(pid) for each in found for pid in each]


class Running:
    """A run under way in a thread of its own; it has made a step."""

    def __init__(self, job: TrainJob) -> None:
        self.ended: TrainResult | ChildFailedError | None = None
        self._stepped = threading.Event()
        self.child = Child(job, on_progress=self._follow)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._stepped.wait(300)
        assert self.ended is None, self.ended
        assert self.child.pid is not None
        self.ranks = processes_of(self.child.pid)

    def _run(self) -> None:
        try:
            self.ended = self.child.run()
        except ChildFailedError as error:
            self.ended = error
            self._stepped.set()

    def _follow(self, progress: Progress) -> None:
        if progress.event == "step":
            self._stepped.set()

    def wait(self) -> TrainResult | ChildFailedError | None:
        self._thread.join(300)
        wait_for(lambda: not any(map(alive, self.ranks)))
        return self.ended

    def kill(self, victim: Victim) -> TrainResult | ChildFailedError | None:
        """Kills it and waits until all have ended."""
        assert self.child.pid is not None
        pids = {"launcher": self.child.pid, "first": min(self.ranks), "second": max(self.ranks)}
        os.kill(pids[victim], signal.SIGKILL)
        return self.wait()
