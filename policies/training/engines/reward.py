"""Training one reward model on preferences, on transformers' Trainer.

TRL's RewardTrainer stands in the way: it knows neither soft labels nor weights, it renders text anew where
tokens were sampled, and it wants the base as a sequence classifier, which beside the model that samples would
be a second copy of the weights. Its loss is taken over, with labels and weights added, and a test holds the
two together. Optimiser, accumulation, distribution and resuming are the Trainer's.
"""

import math
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from policies.training.engines import savepoints
from policies.training.engines.arguments import common
from policies.training.engines.batches import LengthBuckets
from policies.training.engines.bradley_terry import bradley_terry
from policies.training.engines.engine import COMMON
from policies.training.engines.heads import Scorer
from policies.training.engines.schedule import factor
from policies.training.model import checkpoints, lora
from policies.training.model.lora import LoadedBase
from policies.training.planning.resolved import ResolvedReward

WEIGHTS = "weights.safetensors"
FIGURES = (*COMMON, "margin", "accuracy", "score")
"""What a step tells: in units of the raw score, and the share of pairs in order."""


class RewardTrainer(Trainer):
    """The Trainer with this loss, batches of like length, and checkpoints of adapter and head alone."""

    def __init__(
        self, *, model: Scorer, recipe: ResolvedReward, extra_state: Callable[[], str], **kwargs: Any
    ) -> None:
        self._recipe = recipe
        self._extra_state = extra_state
        self._figures: list[dict[str, float]] = []
        super().__init__(model=model, **kwargs)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_args: Any, **_kwargs: Any) -> Any:
        """The loss of a batch: all chosen sequences, then all rejected, each up to its last own token."""
        answer = spans(inputs["completion_mask"])
        chosen, rejected = model(inputs["input_ids"], inputs["attention_mask"], answer).chunk(2)
        terms = bradley_terry(
            chosen,
            rejected,
            weight=inputs["weight"],
            soft=inputs["soft"],
            centring=self._recipe.centring,
            margin=self._recipe.margin,
        )
        values = torch.stack([terms.margin, terms.accuracy, terms.score]).tolist()
        self._figures.append(dict(zip(("margin", "accuracy", "score"), values, strict=True)))
        return terms.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the step's own figures to what is logged."""
        if self._figures:
            logs |= {name: fmean(each[name] for each in self._figures) for name in self._figures[0]}
            self._figures.clear()
        super().log(logs, start_time)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The project's own course of the learning rate, which leaves no step at 0."""
        steps = num_training_steps
        warmup = math.ceil(self._recipe.warmup_ratio * steps)
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer if optimizer is None else optimizer,
            lambda done: factor(done, warmup=warmup, steps=steps),
        )
        return self.lr_scheduler

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        del train_dataset
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthBuckets(self.train_dataset["length"], batch, self.args.seed)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        del state_dict  # it has the whole base in it
        directory = Path(output_dir or self.args.output_dir)
        directory.mkdir(parents=True, exist_ok=True)
        savepoints.keep(lora.trainable(self.model), directory / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        del model
        savepoints.restore(lora.trainable(self.model), Path(resume_from_checkpoint) / WEIGHTS)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        directory = Path(self.args.output_dir) / f"{checkpoints.PREFIX}{self.state.global_step}"
        savepoints.finish(directory, self._extra_state())


def spans(own: torch.Tensor) -> torch.Tensor:
    """1 from each row's first own token to its last: tool results between them are of the answer."""
    begun = own.cummax(dim=1).values
    ended = own.flip(1).cummax(dim=1).values.flip(1)
    return begun * ended


class Finite(TrainerCallback):
    """Ends a training at the first loss or gradient that is not finite. `reason` says which, or is None."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Looks at the step's loss and gradient."""
        del args, kwargs
        for name in ("loss", "grad_norm"):
            value = float((logs or {}).get(name, 0.0))
            if not math.isfinite(value):
                self.reason = self.reason or f"step {state.global_step}: the {name} is {value}"
                control.should_save = False
                control.should_training_stop = True


def arguments(recipe: ResolvedReward, out: Path, base: LoadedBase, seed: int) -> TrainingArguments:
    """The Trainer's settings for a recipe."""
    return TrainingArguments(**common(recipe, out, base, seed), bf16=base.model.dtype == torch.bfloat16)
