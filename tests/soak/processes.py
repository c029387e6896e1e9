"""One training in two processes is that of one, by every method that can be divided.

`make test` does it by DPO alone: each further run starts two more processes that import torch.
"""

import json
import tempfile
from pathlib import Path
from typing import Final

from daemon.children.child import Child
from policies.launch import Launch
from policies.recipes import KtoRecipe, Lora, Recipe, SftRecipe
from policies.training.jobs import TrainJob
from policies.training.layout import ADAPTER, ADAPTER_WEIGHTS, PROGRESS
from tests.policies.training.conftest import job_in, pair, said
from tests.soak.bounds import Figures, within
from tests.tiny import build

PAIRS: Final = [
    pair(n).model_copy(update={"prompt": (said("user", f"hello please help me {'please ' * n}"),)})
    for n in range(24)
]
"""Of as many prompts, so that every step of SFT is full: in one that is not accelerate repeats answers."""
STEPS: Final = {
    "lora": Lora(r=4, alpha=8), "learning_rate": 1e-2, "epochs": 2, "batch_size": 4,
    "gradient_accumulation": 2, "max_length": 200,
}  # fmt: skip
RECIPES: Final[dict[str, Recipe]] = {
    "sft": SftRecipe.model_validate(STEPS),
    "sft_cut": SftRecipe.model_validate(STEPS | {"batch_size": 8, "gradient_accumulation": 1}),
    "kto": KtoRecipe.model_validate(STEPS),
}
LOSS, WEIGHT = 1e-5, 1e-4
"""Most by which they may differ."""


def run() -> Figures:
    """The largest differences of losses and weights by recipe. Raises BoundsBrokenError."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="rlaifd-soak-") as folder:
        base = build(Path(folder) / "base")
        for name, recipe in RECIPES.items():
            jobs = [
                job_in(
                    Path(folder) / f"{name}-{processes}",
                    base,
                    pairs=PAIRS,
                    recipe=recipe,
                    launch=Launch(processes=processes),
                )
                for processes in (1, 2)
            ]
            for job in jobs:
                result = Child(job).run()
                assert result.state == "done", result.reason
                divided = "in each of 2 processes" in str(result.plan)
                assert divided == (job.launch.processes == 2)
            figures |= _compared(name, *jobs)
    steps = {each: (1.0, float("inf")) for each in figures if each.endswith("_steps")}
    losses = {each: (0.0, LOSS) for each in figures if each.endswith("_loss")}
    return within(figures, {**dict.fromkeys(figures, (0.0, WEIGHT)), **losses, **steps})


def _compared(name: str, one: TrainJob, two: TrainJob) -> Figures:
    from safetensors.numpy import load_file

    losses = [_losses(job) for job in (one, two)]
    assert len(losses[0]) == len(losses[1])
    weights = [load_file(job.out / ADAPTER / ADAPTER_WEIGHTS) for job in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    return {
        f"two_processes_{name}_steps": float(len(losses[0])),
        f"two_processes_{name}_loss": max(abs(a - b) for a, b in zip(*losses, strict=True)),
        f"two_processes_{name}_weight": max(
            float(abs(weight - weights[1][part]).max()) for part, weight in weights[0].items()
        ),
    }


def _losses(job: TrainJob) -> list[float]:
    lines = [json.loads(line) for line in (job.out / PROGRESS).read_text(encoding="utf-8").splitlines()]
    return [line["metrics"]["loss"] for line in lines if line["event"] == "step"]
