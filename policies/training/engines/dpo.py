"""DPO with an SFT anchor on TRL's trainer (Rafailov et al. 2023, arXiv:2305.18290).

What TRL's trainer does not have is added in one subclass: weights and soft labels per pair, batches of like
length in a reproducible order, reference log-probabilities that were computed once, checkpoints that are
sealed. Everything else (optimiser, schedule, accumulation, distribution, fused head) is TRL's.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import Trainer
from trl import DPOConfig, DPOTrainer

from policies.training.engines import schedule
from policies.training.engines.batches import LengthBuckets
from policies.training.engines.losses import LossTerms, dpo_loss
from policies.training.errors import JobError
from policies.training.model import checkpoints
from policies.training.model.lora import Base
from policies.training.planning.plan import Resolved

ZERO_MARGIN = {torch.float32: 1e-2, torch.bfloat16: 0.5}
"""Largest first margin that rounding explains: policy and reference are then the same weights."""


class PairTrainer(DPOTrainer):
    """TRL's trainer with per-pair weights, bucketed batches and sealed checkpoints."""

    def __init__(
        self,
        *,
        sft_weight: float,
        check_margin: bool,
        extra_state: Callable[[], str],
        warmup_steps: int = 0,
        **kwargs: Any,
    ) -> None:
        self._sft_weight = sft_weight
        self._warmup_steps = warmup_steps
        self._check_margin = check_margin
        self._extra_state = extra_state
        super().__init__(**kwargs)

    def _prepare_dataset(self, dataset: Any, *_args: Any, **_kwargs: Any) -> Any:
        return dataset

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        del train_dataset
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthBuckets(self.train_dataset["length"], batch, self.args.seed)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The learning rate over the steps; the base class's would begin at 0."""
        if self.lr_scheduler is None:
            factor = partial(schedule.factor, warmup=self._warmup_steps, steps=num_training_steps)
            self.lr_scheduler: Any = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
        return self.lr_scheduler

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:  # noqa: ARG002
        batch = {name: inputs[name] for name in ("input_ids", "attention_mask", "completion_mask")}
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
        outputs = model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            use_cache=False,
            labels=labels,
            fused_lm_head=True,
        )
        chosen, rejected = outputs.log_probs.sum(dim=1).chunk(2)
        if self.precompute_ref_logps:
            reference = (inputs["ref_chosen_logps"], inputs["ref_rejected_logps"])
        else:
            reference = self.compute_ref_log_probs(self.model, batch)
        mask = batch["completion_mask"][:, 1:]
        terms = dpo_loss(
            chosen,
            rejected,
            *reference,
            chosen_tokens=mask.chunk(2)[0].sum(dim=1),
            weight=inputs["weight"],
            soft=inputs["soft"],
            beta=self.beta,
            sft_weight=self._sft_weight,
        )
        self._record(terms, chosen, rejected, (outputs.entropy * mask).sum() / mask.sum())
        return terms.loss

    def _record(
        self, terms: LossTerms, chosen: torch.Tensor, rejected: torch.Tensor, entropy: torch.Tensor
    ) -> None:
        """Keeps the step's figures, with a single wait for the device."""
        figures = {
            "margin": terms.margin,
            "accuracy": terms.accuracy,
            "chosen_drift": terms.chosen_drift,
            "chosen_logp": chosen.detach().mean(),
            "rejected_logp": rejected.detach().mean(),
            "dataset_entropy": entropy.detach(),
        }
        values = torch.stack([value.float() for value in figures.values()]).tolist()
        for name, value in zip(figures, values, strict=True):
            self._metrics["train"][name].append(value)
        margin = values[0]
        if self._check_margin:
            self._check_margin = False
            limit = ZERO_MARGIN.get(next(self.model.parameters()).dtype, 0.5)
            if not abs(margin) <= limit:
                raise JobError(
                    f"the first margin is {margin:.4g}, not 0: the reference is not the start policy"
                )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        Trainer._save_checkpoint(self, model, trial)  # noqa: SLF001 - without the model card that TRL writes
        directory = Path(self.args.output_dir) / f"{checkpoints.PREFIX}{self.state.global_step}"
        (directory / EXTRA).write_text(self._extra_state(), encoding="utf-8")
        checkpoints.seal(directory)


EXTRA = "guards.json"
"""File of a checkpoint with what the guards have seen."""


def arguments(recipe: Resolved, out: Path, base: Base, seed: int) -> DPOConfig:
    """TRL's settings for a recipe. Its own defaults (bf16, checkpointing, 1,024 tokens) are set aside."""
    return DPOConfig(
        output_dir=str(out),
        use_cpu=base.device.type == "cpu",
        bf16=base.model.dtype == torch.bfloat16,
        gradient_checkpointing=recipe.gradient_checkpointing,
        max_length=None,
        loss_type=["sigmoid"],
        beta=recipe.beta,
        disable_dropout=recipe.lora.dropout == 0,
        learning_rate=recipe.learning_rate,
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps,
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation,
        save_strategy="steps",
        save_steps=recipe.checkpoint_steps,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=base.device.type == "cuda",
        seed=seed,
        data_seed=seed,
    )


def with_reference(
    trainer: PairTrainer, examples: list[dict[str, Any]], between: Callable[[int, int], None]
) -> Dataset:
    """The dataset with the reference's log-probabilities, computed once in batches of like length.

    `between(done, total)` is called before every batch.
    """
    order = sorted(range(len(examples)), key=lambda index: examples[index]["length"])
    size = trainer.args.per_device_train_batch_size
    for start in range(0, len(order), size):
        between(start, len(order))
        batch = [examples[index] for index in order[start : start + size]]
        inputs = {name: value.to(trainer.args.device) for name, value in trainer.data_collator(batch).items()}
        inputs = {name: inputs[name] for name in ("input_ids", "attention_mask", "completion_mask")}
        chosen, rejected = trainer.compute_ref_log_probs(trainer.model, inputs)
        for row, good, bad in zip(batch, chosen.tolist(), rejected.tolist(), strict=True):
            row |= {"ref_chosen_logps": good, "ref_rejected_logps": bad}
    return Dataset.from_list(examples)
