"""The trainer for DPO with an SFT anchor, on TRL's (Rafailov et al. 2023, arXiv:2305.18290).

What TRL's trainer does not have is added in one subclass: prompts computed once for both answers, weights and
soft labels per pair, batches of like length in a reproducible order, reference log-probabilities that were
computed once, checkpoints that are sealed. Everything else (optimiser, schedule, accumulation, distribution,
fused head) is TRL's.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import Trainer
from trl import DPOConfig, DPOTrainer
from trl.models.utils import disable_gradient_checkpointing

from policies.training.engines import savepoints, schedule, sharing
from policies.training.engines.arguments import common
from policies.training.engines.batches import LengthBuckets
from policies.training.engines.losses import LossTerms, dpo_loss
from policies.training.engines.reference import Answers, References
from policies.training.engines.scoring import Batch, PairScores, Scoring, WholeRows
from policies.training.errors import JobError
from policies.training.model import checkpoints
from policies.training.model.lora import LoadedBase, fingerprint, using
from policies.training.planning.resolved import ResolvedDpo

ZERO_MARGIN = {torch.float32: 1e-2, torch.bfloat16: 0.5}
"""Largest first margin that rounding explains: policy and reference are then the same weights."""


class PairTrainer(DPOTrainer):
    """TRL's trainer with per-pair weights, bucketed batches and sealed checkpoints.

    It scores as TRL does until `share` finds that prompts can be computed once. `reference` is the adapter on
    the model that it compares with; None: the base.
    """

    def __init__(
        self,
        *,
        sft_weight: float,
        check_margin: bool,
        extra_state: Callable[[], str],
        pad: int,
        rows: Sequence[dict[str, Any]],
        warmup_steps: int = 0,
        reference: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._sft_weight = sft_weight
        self._warmup_steps = warmup_steps
        self._reference = reference
        self._check_margin = check_margin
        self._extra_state = extra_state
        self._pad = pad
        self.rows = list(rows)
        self._scoring: Scoring = WholeRows(pad)
        super().__init__(
            train_dataset=Dataset.from_list(self.rows), data_collator=self._scoring.collate, **kwargs
        )

    def share(self) -> str:
        """Computes each prompt once for both answers where the model can; says whether, and why not."""
        model = self.model.get_base_model()
        found = sharing.decide(
            model,
            model.base_model,
            self.rows,
            self._refer,
            pad=self._pad,
            batch=self.args.per_device_train_batch_size,
        )
        self._scoring = found.scoring
        self.data_collator = found.scoring.collate
        return found.reason

    def keep_reference(self, base: LoadedBase, between: Callable[[int, int], None]) -> None:
        """Computes the reference's log-probabilities of all pairs now, once for the run.

        `between(done, total)` is called before every batch.
        """
        named = f".{self._reference}."
        frozen = {name: value for name, value in self.model.named_parameters() if named in name}
        references = References(f"{base.name}@{base.revision} {fingerprint(frozen)}")
        self.rows = references.fill(
            self.rows,
            length=self._scoring.length,
            batch=self.args.per_device_train_batch_size,
            score=self._reference_of,
            between=between,
        )
        self.train_dataset = Dataset.from_list(self.rows)
        self.precompute_ref_logps = True

    def _prepare_dataset(self, dataset: Any, *_args: Any, **_kwargs: Any) -> Any:
        return dataset

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        del train_dataset
        # A bucket is a step of all processes: accelerate deals its batches out to them in turn.
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        lengths = [row[self._scoring.length] for row in self.rows]
        return LengthBuckets(lengths, batch, self.args.seed)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The learning rate over the steps; the base class's would begin at 0."""
        if self.lr_scheduler is None:
            factor = partial(schedule.factor, warmup=self._warmup_steps, steps=num_training_steps)
            self.lr_scheduler: Any = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
        return self.lr_scheduler

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:  # noqa: ARG002
        scores = self._scoring.score(model, inputs)
        chosen, rejected = scores.answers
        if self.precompute_ref_logps:
            reference = (inputs["ref_chosen_logps"], inputs["ref_rejected_logps"])
        else:
            reference = self._refer(self._scoring, inputs).answers
        terms = dpo_loss(
            chosen,
            rejected,
            *reference,
            chosen_tokens=scores.chosen_tokens,
            weight=inputs["weight"],
            soft=inputs["soft"],
            beta=self.beta,
            sft_weight=self._sft_weight,
        )
        self._record(terms, chosen, rejected, scores.mean_entropy)
        return terms.loss

    def _refer(self, scoring: Scoring, batch: Batch) -> PairScores:
        """What the reference says: the base, or a frozen adapter.

        Without dropout: a reference that says something else each time is none.
        """
        training = self.model.training
        self.model.eval()
        try:
            with (
                torch.no_grad(),
                disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs),
                using(self.model, self._reference),
                self.accelerator.autocast(),
            ):
                return scoring.score(self.model, self._placed(batch))
        finally:
            self.model.train(training)

    def _reference_of(self, rows: Sequence[dict[str, Any]]) -> Answers:
        chosen, rejected = self._refer(self._scoring, self._scoring.collate(rows)).answers
        return chosen.tolist(), rejected.tolist()

    def scores(self, rows: Sequence[dict[str, Any]]) -> PairScores:
        """What the model says of rows of the dataset as it stands, with whichever adapter is on."""
        return self._scoring.score(self.model, self._placed(self._scoring.collate(rows)))

    def _placed(self, batch: Batch) -> Batch:
        return {name: value.to(self.args.device) for name, value in batch.items()}

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
        mine = torch.stack([value.float() for value in figures.values()])
        values = self.accelerator.reduce(mine, reduction="mean").tolist()
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
        self.accelerator.wait_for_everyone()  # each process has written its random numbers
        if self.is_world_process_zero():
            savepoints.finish(directory, self._extra_state())


def arguments(recipe: ResolvedDpo, out: Path, base: LoadedBase, seed: int) -> DPOConfig:
    """TRL's settings for a recipe. Its own defaults (bf16, checkpointing, 1,024 tokens) are set aside."""
    return DPOConfig(
        **common(recipe, out, base, seed),
        bf16=base.model.dtype == torch.bfloat16,
        gradient_checkpointing=recipe.gradient_checkpointing,
        max_length=None,
        loss_type=["sigmoid"],
        beta=recipe.beta,
        disable_dropout=recipe.lora.dropout == 0,
    )
