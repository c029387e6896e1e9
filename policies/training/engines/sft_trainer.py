"""The trainer for supervised fine-tuning, on TRL's.

Its loss is TRL's, the mean over the tokens that count, with each answer's own weight.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer

from policies.training.engines.arguments import common
from policies.training.engines.batches import IGNORED
from policies.training.engines.upkeep import Row, Upkeep, padded
from policies.training.model.lora import LoadedBase
from policies.training.planning.resolved import ResolvedSft


class Targets:
    """Rows to a batch: `labels` [B, T] are IGNORED where no token is learned, `weight` is [B]."""

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Pads on the right."""
        batch = padded(
            [(row["prompt_ids"], row["answer_ids"], row["answer_mask"]) for row in rows], self._pad
        )
        completion = batch.pop("completion_mask")
        weight = torch.tensor([row["weight"] for row in rows], dtype=torch.float32)
        labels = batch["input_ids"].masked_fill(completion == 0, IGNORED)
        return batch | {"labels": labels, "weight": weight}


class TargetTrainer(Upkeep, SFTTrainer):
    """TRL's trainer with weights, bucketed batches and sealed checkpoints."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Nats per token that counts: in a step of several batches, of all their tokens."""
        assert not return_outputs  # nothing is evaluated here
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=inputs["labels"],
            use_cache=False,
            fused_lm_head=True,
        )
        counted = inputs["labels"][:, 1:] != IGNORED
        tokens = counted.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        loss = -(inputs["weight"][:, None] * outputs.log_probs).sum() / tokens.clamp(min=1)
        if num_items_in_batch is not None:
            # The tokens are those of all processes, whose gradients DDP averages.
            loss = loss * self.accelerator.num_processes
        self._record(outputs, counted)
        return loss

    def _record(self, outputs: Any, counted: torch.Tensor) -> None:
        """Keeps the batch's figures."""
        tokens = counted.sum().clamp(min=1)
        self._keep(
            {
                "answer_logp": (outputs.log_probs.sum(), counted.shape[0]),
                "token_accuracy": (outputs.is_top1.sum(), tokens),
                "dataset_entropy": (outputs.entropy.sum(), tokens),
            }
        )


def arguments(recipe: ResolvedSft, out: Path, base: LoadedBase, seed: int) -> SFTConfig:
    """TRL's settings for a recipe. Its own defaults (bf16, checkpointing, 1,024 tokens) are set aside."""
    return SFTConfig(
        **common(recipe, out, base, seed),
        bf16=base.model.dtype == torch.bfloat16,
        gradient_checkpointing=recipe.gradient_checkpointing,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
