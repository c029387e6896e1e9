"""The engine for KTO: answers that were found good or bad one by one in, and out a policy that gives more of
the former and fewer of the latter.

The steps are made by `kto_trainer`.
"""

from pathlib import Path

from transformers import PrinterCallback

from policies import answers
from policies.policy import TrainingGuards
from policies.recipes import KtoRecipe
from policies.training.engines import course, kto_trainer
from policies.training.engines.course import Pupil
from policies.training.engines.engine import COMMON, Lesson, Run, Trained
from policies.training.engines.upkeep import rows_of
from policies.training.errors import JobError
from policies.training.jobs import PlanJob, TrainJob
from policies.training.layout import CHECKPOINTS
from policies.training.model import lora, probe, singles
from policies.training.model.rendering import Rendering
from policies.training.model.singles import Single
from policies.training.planning.kto import decide
from policies.training.planning.plan import Facts, TrainingPlan
from policies.training.planning.resolved import ResolvedKto
from policies.training.planning.shape import lengths_of_answers


class Kto:
    """KTO on a snapshot's single answers."""

    figures = (*COMMON, "kl_estimate", "chosen_drift", "rejected_drift", "dataset_entropy")
    remedy = "raise policy.recipe.learning_rate or epochs"

    def prepare(self, job: PlanJob | TrainJob, rendering: Rendering, positions: int | None) -> Lesson[Single]:
        """The answers as tokens; of pairs, both answers."""
        recipe = job.recipe
        assert isinstance(recipe, KtoRecipe)
        found = answers.read(job.snapshot, job.snapshot_id).answers
        most = recipe.max_length if positions is None else min(recipe.max_length, positions)
        prepared = singles.prepare(found, rendering, most)
        examples = singles.balanced(prepared.examples) if recipe.balance else prepared.examples
        if not examples:
            raise JobError(f"nothing to learn from: {prepared.told}")
        return Lesson(
            items=examples,
            offered=len(found),
            left_out=prepared.left_out,
            told=prepared.told,
            lengths=lengths_of_answers(examples),
            prompts=[example.prompt for example in examples],
            probe=probe.draw_answers(examples, job.seed),
            cut=sum(answer.truncated for answer in found),
        )

    def plan(self, recipe: KtoRecipe, guards: TrainingGuards, facts: Facts) -> TrainingPlan:
        """By the rules of `planning`."""
        return decide(recipe, guards, facts)

    def train(self, run: Run[Single]) -> Trained:
        """By TRL's trainer, with what it lacks."""
        pupil = course.begin(run)
        return course.on_trainer(run, pupil, _trainer(run, pupil))


def _trainer(run: Run[Single], pupil: Pupil) -> kto_trainer.ThumbTrainer:
    job, recipe = run.job, run.plan.recipe
    assert isinstance(recipe, ResolvedKto)
    trainer = kto_trainer.ThumbTrainer(
        sft_weight=recipe.sft_weight,
        reference=pupil.reference,
        extra_state=pupil.watch.state,
        rows=rows_of(run.lesson.items),
        collate=kto_trainer.Thumbs(run.rendering.pad),
        warmup_steps=recipe.warmup_steps,
        model=pupil.model,
        args=kto_trainer.arguments(recipe, job.out / CHECKPOINTS, run.base, job.seed),
        processing_class=run.base.tokenizer,
        callbacks=[pupil.watch],
    )
    trainer.remove_callback(PrinterCallback)
    if job.parent is None:
        # A new adapter's reference is the base itself: a frozen copy of an empty adapter only costs time.
        trainer.model.delete_adapter(lora.REFERENCE)
    if isinstance(job.reference, Path):
        lora.add(trainer.model, run.base, lora.REFERENCE, job.reference)
    run.reporter.report(
        "ready",
        metrics={"trainable": pupil.trainable, "answers": len(run.lesson.items)},
        note="; ".join([run.lesson.told, *run.lesson.notes]),
    )
    return trainer
