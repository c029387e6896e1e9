"""Reward-model files as a training leaves them, and a child that leaves them."""

from pathlib import Path

from daemon.adapters.rewardmodels import HEAD
from policies.training.jobs import AdapterFile, TrainResult
from policies.training.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS, REWARD
from tests.daemon.adapters.adapterfiles import described, source, weights
from tests.daemon.stages.train.bench import FakeChild

LINE = '{"format":"rlaifd-reward-2","calibrations":[{"slope":2.0,"intercept":5.0}]}'


def reward_source(directory: Path, *, folds: int = 1, base: str = "models/base") -> dict[str, AdapterFile]:
    """What a training leaves behind; returns the files by their paths."""
    names = ["reward.json"]
    directory.mkdir(parents=True)
    (directory / "reward.json").write_text(LINE, encoding="utf-8")
    for number in range(folds):
        fold = source(directory / f"fold-{number}", seed=number, config={"base_model_name_or_path": base})
        (fold / HEAD).write_bytes(weights(8, seed=100 + number))
        names += [f"fold-{number}/{name}" for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS, HEAD)]
    return {name: described(directory / name) for name in names}


def leave_reward(child: FakeChild) -> TrainResult:
    """A child's training of a reward model."""
    files = reward_source(child.job.out / REWARD, folds=2, base=child.job.base_model)
    return TrainResult(state="done", steps=8, files=files)
