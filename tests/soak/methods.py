"""Each method from the demo's starting policy, by its recipes, ten seeds: how content customers become.

How content they are is a score that no judge, no reward model and no thumb knows. PPO's reward model is
trained in the run, from the pairs that DPO learns from; SFT imitates the best of the same answers, KTO has
the customers' thumbs.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from tests.killing import ROOT
from tests.soak import methods_seed
from tests.soak.bounds import Bounds, BoundsBrokenError, Figures, within

SEEDS: Final = 10
KL_NATS: Final = 10.0
WITHIN: Final = 9
"""Of the seeds, as many as must stay so near to the start."""
METHODS: Final = ("dpo", "ppo", "sft", "kto")
Seed = Mapping[str, float]
"""Of one seed the score at the start, and of each method score, KL in nats and seconds of CPU."""


def run() -> Figures:
    """The figures; raises BoundsBrokenError."""
    with tempfile.TemporaryDirectory(prefix="rlaifd-soak-") as folder:
        seeds = [learned(Path(folder) / str(seed), seed) for seed in range(SEEDS)]
    return within(summed(seeds), bounds(len(seeds)))


def learned(directory: Path, seed: int) -> Seed:
    """One seed, in a process of its own. Raises BoundsBrokenError where that does not come to its end."""
    command = [sys.executable, "-m", methods_seed.__name__, str(directory), str(seed)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BoundsBrokenError({}, [f"seed {seed}: {(done.stderr.splitlines() or ['no word'])[-1]}"])
    line = done.stdout.splitlines()[-1]
    sys.stdout.write(f"  seed {seed}: {line}\n")
    sys.stdout.flush()
    found: dict[str, float] = json.loads(line)
    return found


def summed(seeds: Sequence[Seed]) -> Figures:
    """Over the seeds: medians, the smallest gain, the largest KL, and how many stay near to the start."""
    before = [seed["before"] for seed in seeds]
    figures = {"method_before": median(before)}
    for method in METHODS:
        kl = [seed[f"{method}_kl"] for seed in seeds]
        figures |= {
            f"method_{method}": median(seed[method] for seed in seeds),
            f"method_{method}_least_gain": min(seed[method] - seed["before"] for seed in seeds),
            f"method_{method}_most_kl": max(kl),
            f"method_{method}_near": float(sum(each <= KL_NATS for each in kl)),
            f"method_{method}_cpu_s": median(seed[f"{method}_cpu_s"] for seed in seeds),
        }
    return figures


def bounds(seeds: int) -> Bounds:
    """What is asked of PPO and of DPO; SFT and KTO stand beside them."""
    near = (seeds * WITHIN / SEEDS, float(seeds))
    return {
        "method_dpo": (0.45, 1.0),
        "method_dpo_near": near,
        "method_ppo": (0.35, 1.0),
        "method_ppo_least_gain": (0.0, 1.0),
        "method_ppo_near": near,
    }
