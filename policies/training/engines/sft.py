"""The engine for supervised fine-tuning: good answers in, and out a policy that gives such answers.

The steps are made by `sft_trainer`.
"""

from transformers import PrinterCallback

from policies import answers
from policies.policy import TrainingGuards
from policies.recipes import SftRecipe
from policies.training.engines import course, sft_trainer
from policies.training.engines.course import Pupil
from policies.training.engines.engine import COMMON, Lesson, Run, Trained
from policies.training.engines.roles import Roles
from policies.training.engines.upkeep import rows_of
from policies.training.errors import JobError
from policies.training.jobs import PlanJob, TrainJob
from policies.training.layout import CHECKPOINTS
from policies.training.model import lora, probe, singles
from policies.training.model.rendering import Rendering
from policies.training.model.singles import Single
from policies.training.planning.plan import Facts, TrainingPlan
from policies.training.planning.resolved import ResolvedSft
from policies.training.planning.sft import decide
from policies.training.planning.shape import lengths_of_answers


class Sft:
    """Supervised fine-tuning on a snapshot's good answers, one a prompt."""

    figures = (*COMMON, "answer_logp", "token_accuracy", "dataset_entropy")
    remedy = "raise policy.recipe.learning_rate or epochs"

    def prepare(self, job: PlanJob | TrainJob, rendering: Rendering, positions: int | None) -> Lesson[Single]:
        """The good answers as tokens; of pairs, the chosen ones."""
        found = answers.read(job.snapshot, job.snapshot_id).answers
        targets = answers.best(found)
        most = job.recipe.max_length if positions is None else min(job.recipe.max_length, positions)
        prepared = singles.prepare(targets, rendering, most)
        good = sum(answer.good for answer in found)
        left_out = {**prepared.left_out, "bad": len(found) - good, "not_best": good - len(targets)}
        if not prepared.examples:
            raise JobError(f"nothing to learn from: {prepared.told}")
        return Lesson(
            items=prepared.examples,
            offered=len(found),
            left_out=left_out,
            told=prepared.told,
            lengths=lengths_of_answers(prepared.examples),
            prompts=[example.prompt for example in prepared.examples],
            probe=probe.draw_answers(prepared.examples, job.seed),
        )

    def plan(self, recipe: SftRecipe, guards: TrainingGuards, facts: Facts) -> TrainingPlan:
        """By the rules of `planning`."""
        return decide(recipe, guards, facts)

    def train(self, run: Run[Single]) -> Trained:
        """By TRL's trainer, with what it lacks."""
        pupil = course.begin(run)
        if pupil.start is not None:
            # TRL's trainer has no use for one; the guards compare with it.
            Roles(pupil.model, run.rendering.pad).copy(lora.POLICY, pupil.start, trained=False)
        return course.on_trainer(run, pupil, _trainer(run, pupil))


def _trainer(run: Run[Single], pupil: Pupil) -> sft_trainer.TargetTrainer:
    job, recipe = run.job, run.plan.recipe
    assert isinstance(recipe, ResolvedSft)
    trainer = sft_trainer.TargetTrainer(
        extra_state=pupil.watch.state,
        rows=rows_of(run.lesson.items),
        collate=sft_trainer.Targets(run.rendering.pad),
        warmup_steps=recipe.warmup_steps,
        model=pupil.model,
        args=sft_trainer.arguments(recipe, job.out / CHECKPOINTS, run.base, job.seed),
        processing_class=run.base.tokenizer,
        callbacks=[pupil.watch],
    )
    trainer.remove_callback(PrinterCallback)
    run.reporter.report(
        "ready",
        metrics={"trainable": pupil.trainable, "answers": len(run.lesson.items)},
        note="; ".join([run.lesson.told, *run.lesson.notes]),
    )
    return trainer
