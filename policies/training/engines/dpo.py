"""The engine for DPO: pairs in, and out a policy that prefers the chosen answers.

The steps are made by `pair_trainer`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PrinterCallback

from policies import snapshot
from policies.answers import holds_answers
from policies.policy import TrainingGuards
from policies.prompted import holds_prompts
from policies.recipes import DpoRecipe
from policies.training.engines import batches, course, pair_trainer
from policies.training.engines.course import Pupil
from policies.training.engines.engine import COMMON, Lesson, Run, Trained
from policies.training.errors import JobError
from policies.training.jobs import PlanJob, TrainJob
from policies.training.layout import CHECKPOINTS
from policies.training.model import checkpoints, lora, probe
from policies.training.model.dataset import Example, prepare
from policies.training.model.rendering import Rendering
from policies.training.planning.dpo import decide
from policies.training.planning.plan import Facts, TrainingPlan
from policies.training.planning.resolved import ResolvedDpo
from policies.training.planning.shape import lengths_of


class Dpo:
    """Direct preference optimisation on a snapshot's pairs."""

    figures = (
        *COMMON,
        "margin",
        "accuracy",
        "chosen_drift",
        "chosen_logp",
        "rejected_logp",
        "dataset_entropy",
    )
    remedy = "raise policy.recipe.learning_rate or epochs"

    def prepare(
        self, job: PlanJob | TrainJob, rendering: Rendering, positions: int | None
    ) -> Lesson[Example]:
        """The pairs as tokens."""
        if holds_answers(job.snapshot):
            raise JobError(
                f"{job.snapshot.name} holds single answers: DPO learns from pairs, sft and kto do not"
            )
        if holds_prompts(job.snapshot):
            raise JobError(
                f"{job.snapshot.name} holds prompts: {job.recipe.method} learns from pairs, ppo does not"
            )
        found = snapshot.read(job.snapshot, job.snapshot_id).pairs
        most = job.recipe.max_length if positions is None else min(job.recipe.max_length, positions)
        prepared = prepare(found, rendering, most)
        if not prepared.examples:
            raise JobError(f"nothing to learn from: {prepared.told}")
        return Lesson(
            items=prepared.examples,
            offered=len(found),
            left_out={str(why): count for why, count in prepared.left_out.items()},
            told=prepared.told,
            lengths=lengths_of(prepared.examples),
            prompts=[example.prompt for example in prepared.examples],
            probe=probe.draw(prepared.examples, job.seed),
            cut=sum(pair.rejected_truncated for pair in found),
        )

    def plan(self, recipe: DpoRecipe, guards: TrainingGuards, facts: Facts) -> TrainingPlan:
        """By the rules of `planning`."""
        return decide(recipe, guards, facts)

    def train(self, run: Run[Example]) -> Trained:
        """By TRL's trainer, with what it lacks."""
        pupil = course.begin(run)
        return course.on_trainer(run, pupil, _trainer(run, pupil))


def _trainer(run: Run[Example], pupil: Pupil) -> pair_trainer.PairTrainer:
    job, recipe = run.job, run.plan.recipe
    assert isinstance(recipe, ResolvedDpo)
    trainer = pair_trainer.PairTrainer(
        sft_weight=recipe.sft_weight,
        warmup_steps=recipe.warmup_steps,
        reference=pupil.reference,
        check_margin=_starts_level(run),
        extra_state=pupil.watch.state,
        pad=run.rendering.pad,
        rows=batches.rows(run.lesson.items),
        model=pupil.model,
        args=pair_trainer.arguments(recipe, job.out / CHECKPOINTS, run.base, job.seed),
        processing_class=run.base.tokenizer,
        callbacks=[pupil.watch],
    )
    trainer.remove_callback(PrinterCallback)
    if job.parent is None:
        # A new adapter's reference is the base itself: a frozen copy of an empty adapter only costs time.
        trainer.model.delete_adapter(lora.REFERENCE)
    if isinstance(job.reference, Path):
        lora.add(trainer.model, run.base, lora.REFERENCE, job.reference)
    shared = [trainer.share()] if recipe.trainer == "shared" else []
    run.reporter.report(
        "ready",
        metrics={"trainable": pupil.trainable, "pairs": len(run.lesson.items)},
        note="; ".join([run.lesson.told, *run.lesson.notes, *shared]),
    )
    if recipe.reference_once:
        trainer.keep_reference(run.base, _passes(run))
    return trainer


def _starts_level(run: Run[Any]) -> bool:
    """Whether policy and reference are the same at the first step, to the last digit."""
    fresh = checkpoints.newest(run.job.out / CHECKPOINTS) is None
    return fresh and run.plan.recipe.lora.dropout == 0 and run.job.reference == "start"


def _passes(run: Run[Any]) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        run.check()
        run.reporter.report("reference", note=f"{done} of {total} pairs")

    return tell
