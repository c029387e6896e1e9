"""A trainer with real children, and the process that trains with it, to be killed.

Run as `python -m tests.daemon.stages.train.daemonprocess STATE BASE_MODEL SNAPSHOT [RECIPE]`.
"""

import sys
import time
from pathlib import Path

from daemon.clock import FakeClock
from daemon.config.settings import TrainingConfig
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.stages.train.inputs import RunInputs
from daemon.stages.train.trainer import Trainer
from daemon.store.schema import upgrade
from daemon.store.store import Store
from policies.policy import Guard, PolicySpec, TrainingGuards
from policies.recipes import RECIPES, DpoRecipe, Lora


def real_trainer(state: Path, base_model: str) -> Trainer:
    """A trainer with real children on a SQLite store of its own."""
    clock, metrics = FakeClock(time.time()), Metrics()
    store = Store(f"sqlite:///{state / 'rlaifd.db'}")
    upgrade(store)
    recipe = DpoRecipe(
        learning_rate=2e-3, epochs=40, batch_size=8, checkpoint_steps=20, lora=Lora(r=4, alpha=8)
    )
    guards = TrainingGuards(every_steps=50, samples=2, kl_nats=Guard(limit=1e6))
    policy = PolicySpec(name="tiny", family="tiny", base_model=base_model, recipe=recipe, guards=guards)
    return Trainer(
        store=store, state_dir=state, policy=policy, training=TrainingConfig(device="cpu"),
        latch=Latch(store, clock, metrics), metrics=metrics, clock=clock, given=RunInputs(seed=3),
    )  # fmt: skip


if __name__ == "__main__":
    recipe = RECIPES.validate_json(sys.argv[4]) if len(sys.argv) > 4 else None
    real_trainer(Path(sys.argv[1]), sys.argv[2]).train(sys.argv[3], actor="test", recipe=recipe)
