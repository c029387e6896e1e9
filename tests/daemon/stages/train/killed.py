"""Trainings whose daemon is killed at a step, and what they come to when taken up again."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemon.adapters import adapters, rewardmodels
from daemon.stages.train.run_rows import RunOutcome
from daemon.stages.train.trainer import Trainer
from daemon.store import preferences
from daemon.store import rewardmodels as rows
from daemon.store.snapshots import Held
from policies import snapshot
from policies.recipes import DpoRecipe, Lora, PpoRecipe, Recipe, RewardRecipe
from policies.release import Release
from policies.training.layout import PROGRESS
from tests.daemon.stages.train import daemonprocess
from tests.killing import ROOT
from tests.policies.training.engines.wishes import separable

DPO = DpoRecipe(
    lora=Lora(r=4, alpha=8), learning_rate=2e-3, epochs=24, batch_size=8, checkpoint_steps=20, max_length=200
)
REWARD = RewardRecipe(
    lora=Lora(r=4, alpha=8), learning_rate=3e-3, epochs=24, batch_size=8, checkpoint_steps=20, max_length=200
)
PPO = PpoRecipe(
    lora=Lora(r=4, alpha=8), steps=12, prompts=8, answers=4, max_new_tokens=8, minibatch=16, microbatch=16,
    learning_rate=1e-2, warmup_steps=1, critic_warmup_steps=1, checkpoint_steps=3, max_length=200,
)  # fmt: skip
RECIPES: Mapping[str, Recipe] = {"dpo": DPO, "reward": REWARD, "ppo": PPO}
STEPS = {"dpo": 120, "reward": 120, "ppo": 12}


class Scene:
    """A state directory with a snapshot, and for PPO a reward model that is released."""

    def __init__(self, state: Path, base_model: str, method: str) -> None:
        self.state, self.base_model, self.method = state, base_model, method
        state.mkdir()
        self.trainer = self._trainer()
        self.snapshot = self._freeze()
        self.recipe = RECIPES[method]
        if method == "ppo":
            self._release()

    def _trainer(self) -> Trainer:
        return daemonprocess.real_trainer(self.state, self.base_model)

    def _freeze(self) -> str:
        name, path = snapshot.write(self.state / "snapshots", "tiny", [separable(n) for n in range(40)])
        self.trainer._store.write(
            lambda c: preferences.store_snapshot(c, name, str(path), Held(range(40)), note="", now=1.0)
        )
        return name

    def _release(self) -> None:
        few = REWARD.model_copy(update={"epochs": 4.0})
        made = self.trainer.train(self.snapshot, actor="test", recipe=few)
        assert made.reward_model is not None, made.reason
        said = Release("release", ("a test",), 60)
        self.trainer._store.write(lambda c: rows.decide(c, str(made.reward_model), said, now=2.0))

    def train(self) -> RunOutcome:
        """In one go, or from where a killed one stopped."""
        return self.trainer.train(self.snapshot, actor="test", recipe=self.recipe)

    def train_and_kill(self, step: int) -> None:
        """Starts it in a daemon of its own, and kills that with SIGKILL once the step is reported."""
        arguments = [sys.executable, "-m", daemonprocess.__name__, str(self.state), self.base_model]
        before = set((self.state / "runs").iterdir())
        recipe = self.recipe.model_dump_json()
        with subprocess.Popen([*arguments, self.snapshot, recipe], cwd=ROOT, env=os.environ) as daemon:
            try:
                self._wait(step, before, daemon)
            finally:
                daemon.kill()

    def _wait(self, step: int, before: set[Path], daemon: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            assert daemon.poll() is None, "the daemon ended by itself"
            new = [path / PROGRESS for path in (self.state / "runs").iterdir() if path not in before]
            if any(_reached(file, step) for file in new if file.exists()):
                return
            time.sleep(0.005)
        raise AssertionError("the training did not get that far")

    def files(self, outcome: RunOutcome) -> dict[str, Any]:
        """The published files by name, verified."""
        if outcome.reward_model is not None:
            path = self.trainer.rewards_dir / outcome.reward_model
            return dict(rewardmodels.verify(path, path.name).files)
        assert outcome.adapter is not None, outcome.reason
        return dict(adapters.verify(self.trainer.adapters_dir / outcome.adapter, outcome.adapter).files)

    def close(self) -> None:
        self.trainer._store.close()


def _reached(file: Path, step: int) -> bool:
    lines = file.read_bytes().split(b"\n")[:-1]
    return any(json.loads(line)["event"] == "step" and json.loads(line)["step"] >= step for line in lines)
