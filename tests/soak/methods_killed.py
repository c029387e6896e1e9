"""Kill -9 at ten points of a reward model's training and of one by PPO: each ends as if nothing had happened.

`make test` kills one of DPO, and stops and resumes each method within one process.
"""

import random
import tempfile
from pathlib import Path

from tests.daemon.stages.train.killed import STEPS, Scene
from tests.soak.bounds import Figures, within
from tests.tiny import build

KILLS = 10


def run() -> Figures:
    """The figures; raises BoundsBrokenError."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="rlaifd-soak-") as folder:
        base = build(Path(folder) / "base")
        for method in STEPS:
            same = _same(Path(folder) / method, str(base), method)
            figures[f"{method}_killed"], figures[f"{method}_killed_same"] = KILLS, same
    return within(figures, {f"{method}_killed_same": (KILLS, KILLS) for method in STEPS})


def _same(state: Path, base: str, method: str) -> int:
    """How many of the killed runs have the very files of the whole one."""
    chance = random.Random(method)
    scene = Scene(state, base, method)
    whole = scene.files(scene.train())
    same = 0
    for _ in range(KILLS):
        scene.train_and_kill(chance.randrange(1, STEPS[method] * 3 // 4))
        scene.trainer.recover()
        same += scene.files(scene.train()) == whole
    scene.close()
    return same
