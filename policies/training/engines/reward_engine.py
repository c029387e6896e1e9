"""The engine for reward models: pairs in, and out an adapter with a head that gives answers points.

The steps are made by `reward`, fold after fold by `folds`.
"""

import time
from dataclasses import replace
from pathlib import Path

from policies.policy import TrainingGuards
from policies.recipes import RewardRecipe
from policies.training.engines import course, folds, reward
from policies.training.engines.dpo import Dpo
from policies.training.engines.engine import Lesson, Run, Trained
from policies.training.guarding.monitor import Monitor
from policies.training.jobs import PlanJob, TrainJob
from policies.training.layout import CHECKPOINTS
from policies.training.model import checkpoints
from policies.training.model.dataset import Example
from policies.training.model.rendering import Rendering
from policies.training.planning.plan import Facts, TrainingPlan
from policies.training.planning.resolved import ResolvedReward
from policies.training.planning.reward import decide
from policies.training.planning.shape import lengths_of


class RewardEngine:
    """A Bradley-Terry reward model on a snapshot's pairs. It begins at the base, whatever is in force."""

    figures = reward.FIGURES
    remedy = "raise policy.recipe.learning_rate or epochs"

    def prepare(
        self, job: PlanJob | TrainJob, rendering: Rendering, positions: int | None
    ) -> Lesson[Example]:
        """The pairs as tokens, as DPO has them; lengths are those of the pairs that are learned from."""
        lesson = Dpo().prepare(job, rendering, positions)
        learned, _ = folds.held_out(lesson.items)
        return replace(lesson, lengths=lengths_of(learned))

    def plan(self, recipe: RewardRecipe, guards: TrainingGuards, facts: Facts) -> TrainingPlan:
        """By the rules of `planning`."""
        return decide(recipe, guards, facts)

    def train(self, run: Run[Example]) -> Trained:
        """Fold after fold; a run that is taken up goes through those that are done in no time."""
        job, recipe, started = run.job, run.plan.recipe, time.monotonic()
        assert isinstance(recipe, ResolvedReward)
        trainable = run.plan.facts.shape.trainable
        course.make_sure_of_space(job, trainable * recipe.folds)
        watch = Monitor(
            reader=None,
            figures=run.figures,
            guards=job.guards,
            every_steps=run.plan.every_steps,
            reporter=run.reporter,
            stopping=run.stopping,
        )
        run.check()
        done = reached(job.out / CHECKPOINTS)
        if done:
            run.reporter.report("resumed", step=done)
        learned, points = folds.held_out(run.lesson.items)
        calibrated = f"{len(points)} answers to calibrate on" if points else "too few answers to calibrate on"
        run.reporter.report(
            "ready",
            metrics={"trainable": trainable, "pairs": len(learned)},
            note="; ".join([run.lesson.told, *run.lesson.notes, calibrated]),
        )
        settings = folds.FoldSettings(
            base=run.base,
            pad=run.rendering.pad,
            recipe=recipe,
            out=job.out,
            seed=job.seed,
            callbacks=(watch,),
            extra_state=watch.state,
        )
        ended = folds.train(settings, learned, points)
        return Trained(
            state="halted" if watch.halted else ended.state,
            steps=ended.steps,
            reason=watch.halted or ended.reason,
            resumed_from=done,
            trainable=trainable,
            seconds=time.monotonic() - started,
            figures={**watch.all_figures(), **ended.figures},
            files={} if watch.halted else ended.files,
        )


def reached(folder: Path) -> int:
    """The steps that the checkpoints of all folds have behind them."""
    found = [checkpoints.newest(fold) for fold in sorted(folder.glob("*/"))]
    return sum(checkpoints.step_of(each) or 0 for each in found if each is not None)
