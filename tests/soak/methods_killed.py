"""Kill -9 at ten points of a training by DPO, by PPO, and of a reward model: each ends as if nothing were.

`make test` kills one of DPO, and stops and resumes each method within one process.
"""

import os
import random
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.daemon.stages.train.killed import STEPS, Scene
from tests.soak.bounds import Figures, within
from tests.tiny import build

KILLS = 10


def run() -> Figures:
    """The figures; raises BoundsBrokenError. A method for each core: most of a kill is a process's start."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="rlaifd-soak-") as folder:
        base = build(Path(folder) / "base")
        # Made one after another: Alembic's environment is one for the whole process.
        scenes = [Scene(Path(folder) / method, str(base), method) for method in STEPS]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            same = pool.map(_same, scenes)
            for method, count in zip(STEPS, same, strict=True):
                figures |= {f"{method}_killed": KILLS, f"{method}_killed_same": count}
    return within(figures, {f"{method}_killed_same": (KILLS, KILLS) for method in STEPS})


def points(method: str) -> Iterator[int]:
    """The steps after which it is killed: by chance, one in each tenth of the first three quarters."""
    chance, last = random.Random(method), STEPS[method] * 3 / 4
    for number in range(KILLS):
        yield 1 + int((number + chance.random()) * last / KILLS)


def _same(scene: Scene) -> int:
    """How many of the killed runs have the very files of the whole one."""
    whole = scene.files(scene.train())
    same = 0
    for step in points(scene.method):
        scene.train_and_kill(step)
        scene.trainer.recover()
        same += scene.files(scene.train()) == whole
    scene.close()
    return same
