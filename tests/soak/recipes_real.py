"""The default recipe on the real model, for few pairs, some, and many: it moves the policy, and not too far.

16 and 200 pairs are trained whole; of 5,000 the first optimiser steps. How far fresh answers are from the
base model's is what the run's own guards measure.
"""

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daemon.children.child import Child
from policies.policy import GateRule, TrainingGuards
from policies.recipes import DpoRecipe
from policies.snapshot import Pair, write
from policies.training.jobs import Progress, TrainJob, TrainResult
from tests.learning.agent import Agent
from tests.learning.task import requests
from tests.servers import realmodel
from tests.soak.bounds import Bounds, Figures, within
from tests.soak.lessons import Heard, pairs

LEAST_KL: Final = 0.05
KL: Final = (LEAST_KL, GateRule().max_kl_nats)
HEARD: Final = 96
ANSWER_TOKENS: Final = 32
FIRST_STEPS: Final = 30
SEED: Final = 11
STEP_S: Final = 600.0
"""A child ends between two steps; one of 16 pairs takes half a minute on a busy machine."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A training as it ended, with the largest resident size of its child."""

    result: TrainResult
    seconds: float
    peak_mb: float

    @property
    def kl_nats(self) -> float:
        """Of the last reading, per sequence; nothing measured is not a number."""
        return self.result.readings[-1].kl_sequence if self.result.readings else float("nan")


def run() -> Figures:
    """Of each KL in nats, seconds, megabytes, and 1 where it ended as it should. Raises BoundsBrokenError."""
    base = realmodel.directory()
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        heard = listen(base, Path(folder), count=HEARD, max_new_tokens=ANSWER_TOKENS)
        for count, first in ((16, None), (200, None), (5_000, FIRST_STEPS)):
            lesson = train(base, pairs(count, heard), Path(folder), first=first, max_new_tokens=ANSWER_TOKENS)
            figures |= {
                f"recipe_{count}_kl_nats": lesson.kl_nats,
                f"recipe_{count}_whole": float(
                    lesson.result.state == ("done" if first is None else "stopped")
                ),
                f"recipe_{count}_steps": float(lesson.result.steps),
                f"recipe_{count}_seconds": lesson.seconds,
                f"recipe_{count}_peak_mb": lesson.peak_mb,
            }
    kl: Bounds = {name: KL for name in figures if name.endswith("_kl_nats")}
    whole: Bounds = {name: (1.0, 1.0) for name in figures if name.endswith("_whole")}
    return within(figures, {**kl, **whole})


def listen(base: Path, folder: Path, *, count: int, max_new_tokens: int) -> list[Heard]:
    """What the base model says to so many customers; from the cache where it was asked before."""
    asked = list(itertools.islice(requests(SEED), count))
    agent = Agent(base, folder, max_new_tokens)
    answers = agent.base_answers("heard", asked, seed=SEED, tell=lambda _done, _total: None)
    return [Heard(request, answer) for request, answer in zip(asked, answers, strict=True)]


def train(
    base: Path,
    lessons: Sequence[Pair],
    folder: Path,
    *,
    max_new_tokens: int,
    first: int | None = None,
    guards: TrainingGuards | None = None,
) -> Lesson:
    """Trains with the default recipe in a child, whole or the `first` so many steps, and measures after them.

    Raises ChildFailedError.
    """
    name, snapshot = write(folder / "snapshots", "soak", lessons)
    job = TrainJob(
        out=folder / f"run-{len(lessons)}",
        base_model=str(base),
        snapshot=snapshot,
        snapshot_id=name,
        recipe=DpoRecipe(),
        guards=guards or (TrainingGuards() if first is None else TrainingGuards(every_steps=first)),
        guard_max_new_tokens=max_new_tokens,
        lock=folder / "training.lock",
        device="cpu",
        seed=SEED,
    )
    peak, seconds = 0.0, 0.0

    def progressed(progress: Progress) -> None:
        nonlocal peak, seconds
        seconds = progress.elapsed_s
        peak = max(peak, resident_peak_mb(child.pid))
        if first is not None and progress.event == "guard" and progress.step >= first:
            child.stop()

    child = Child(job, grace_s=STEP_S, on_progress=progressed)
    return Lesson(child.run(), seconds, peak)


def resident_peak_mb(pid: int | None) -> float:
    """The largest resident size that a process has had, in 10^6 bytes; 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) * 1024 / 1e6
