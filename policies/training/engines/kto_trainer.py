"""The trainer for KTO (Ethayarajh et al. 2024, arXiv:2402.01306), on TRL's.

An answer's value is measured against z, an estimate of the policy's KL to the reference: the mean log-ratio
of the batch's answers, each behind another's prompt. TRL mixes them up once for the run, in an order that
must then never change; here each batch does so itself, so that batches may be of like length. Weights are
per answer, in the loss and in z.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from trl import KTOConfig, KTOTrainer
from trl.models.utils import disable_gradient_checkpointing

from policies.training.engines.arguments import common
from policies.training.engines.batches import IGNORED
from policies.training.engines.upkeep import Row, Upkeep, padded
from policies.training.model.lora import LoadedBase, using
from policies.training.planning.resolved import ResolvedKto

MISMATCHED = "KL_"
"""TRL's prefix for the answers that stand behind other prompts."""


class Thumbs:
    """Rows to a batch as TRL has it: `label` [B] says which are good, and each answer stands a second time
    behind the next row's prompt.
    """

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Pads on the right."""
        own = [(row["prompt_ids"], row["answer_ids"], row["answer_mask"]) for row in rows]
        moved = [*rows[-1:], *rows[:-1]]
        other = [
            (row["prompt_ids"], given["answer_ids"], given["answer_mask"])
            for row, given in zip(rows, moved, strict=True)
        ]
        mismatched = {f"{MISMATCHED}{name}": value for name, value in padded(other, self._pad).items()}
        weight = torch.tensor([row["weight"] for row in rows], dtype=torch.float32)
        label = torch.tensor([row["good"] for row in rows])
        return padded(own, self._pad) | mismatched | {"weight": weight, "label": label}


class ThumbTrainer(Upkeep, KTOTrainer):
    """TRL's trainer with weights, bucketed batches and sealed checkpoints.

    `reference` is the adapter on the model that is compared with; None: the base.
    """

    def __init__(self, *, sft_weight: float, reference: str | None = None, **kwargs: Any) -> None:
        self._sft_weight = sft_weight
        self._reference = reference
        super().__init__(**kwargs)

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        assert not return_outputs  # nothing is evaluated here
        batch = {name: value.to(self.args.device) for name, value in inputs.items()}
        outputs = _outputs(model, batch)
        policy = outputs.log_probs.sum(dim=1)
        reference, kl = self._measured(batch)
        good, weight = batch["label"].bool(), batch["weight"]
        drift = policy - reference
        value = torch.where(good, drift - kl, kl - drift)
        loss = (weight * (1 - F.sigmoid(self.beta * value))).mean()
        counted = batch["completion_mask"][:, 1:]
        if self._sft_weight:
            tokens = (weight * counted.sum(dim=1))[good].sum().clamp(min=1e-9)
            loss = loss - self._sft_weight * (weight * policy)[good].sum() / tokens
        entropy = (outputs.entropy.detach() * counted).sum() / counted.sum().clamp(min=1)
        self._record(drift.detach(), good, kl, entropy)
        return loss

    def _measured(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The reference's log-probability of each answer, and z. Neither has a gradient."""
        model, training = self.model, self.model.training
        model.eval()
        try:
            with (
                torch.no_grad(),
                disable_gradient_checkpointing(model, self.args.gradient_checkpointing_kwargs),
                self.accelerator.autocast(),
            ):
                with using(model, self._reference):
                    reference = _outputs(model, batch).log_probs.sum(dim=1)
                    theirs = _outputs(model, batch, MISMATCHED).log_probs.sum(dim=1)
                ours = _outputs(model, batch, MISMATCHED).log_probs.sum(dim=1)
        finally:
            model.train(training)
        if len(reference) == 1:  # no other prompt: the answer itself would be measured against itself
            return reference, torch.zeros_like(reference[0])
        weight = batch["weight"]
        return reference, ((weight * (ours - theirs)).sum() / weight.sum().clamp(min=1e-9)).clamp(min=0)

    def _record(
        self, drift: torch.Tensor, good: torch.Tensor, kl: torch.Tensor, entropy: torch.Tensor
    ) -> None:
        """Keeps the batch's figures."""
        self._keep(
            {
                "kl_estimate": (kl, 1),
                "dataset_entropy": (entropy, 1),
                "chosen_drift": (drift[good].sum(), good.sum()),
                "rejected_drift": (drift[~good].sum(), (~good).sum()),
            }
        )


def _outputs(model: Any, batch: dict[str, torch.Tensor], prefix: str = "") -> Any:
    """TRL's fused head on the answers, with whichever adapter is on."""
    ids = batch[f"{prefix}input_ids"]
    return model(
        input_ids=ids,
        attention_mask=batch[f"{prefix}attention_mask"],
        labels=ids.masked_fill(batch[f"{prefix}completion_mask"] == 0, IGNORED),
        use_cache=False,
        fused_lm_head=True,
    )


def arguments(recipe: ResolvedKto, out: Path, base: LoadedBase, seed: int) -> KTOConfig:
    """TRL's settings for a recipe. Its own defaults (bf16, checkpointing, 1,024 tokens) are set aside."""
    return KTOConfig(
        **common(recipe, out, base, seed),
        bf16=base.model.dtype == torch.bfloat16,
        gradient_checkpointing=recipe.gradient_checkpointing,
        max_length=None,
        loss_type="kto",
        beta=recipe.beta,
        disable_dropout=recipe.lora.dropout == 0,
    )
