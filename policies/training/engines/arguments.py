"""The settings of transformers' Trainer that are the same for every engine on it."""

from pathlib import Path
from typing import Any, Protocol

from policies.training.engines import savepoints
from policies.training.model.lora import LoadedBase


class Stepwise(Protocol):
    """What the steps of a recipe are, as far as the Trainer makes them."""

    @property
    def learning_rate(self) -> float:
        """The highest of the run."""

    @property
    def epochs(self) -> float:
        """How often the data is seen."""

    @property
    def max_steps(self) -> int:
        """Steps of the whole run; -1: as many as the epochs have."""

    @property
    def batch_size(self) -> int:
        """Rows in memory at a time."""

    @property
    def gradient_accumulation(self) -> int:
        """Batches of a step."""

    @property
    def checkpoint_steps(self) -> int:
        """Steps between two checkpoints."""


def common(recipe: Stepwise, out: Path, base: LoadedBase, seed: int) -> dict[str, Any]:
    """Arguments by name. Every step is logged, numbers that are not finite as they are; nothing is told to
    anybody outside; the rows come through whole; the order follows from the seed.
    """
    return {
        "output_dir": str(out),
        "use_cpu": base.device.type == "cpu",
        "learning_rate": recipe.learning_rate,
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.max_steps,
        "per_device_train_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.gradient_accumulation,
        "save_strategy": "steps",
        "save_steps": recipe.checkpoint_steps,
        "save_total_limit": savepoints.KEPT,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": base.device.type == "cuda",
        "seed": seed,
        "data_seed": seed,
    }
