"""An engine as unlike DPO as one can be: it learns from prompts, in a loop of its own, without a Trainer."""

import math
from typing import Any

import torch
from transformers import TrainerControl, TrainerState

from policies import snapshot
from policies.policy import TrainingGuards
from policies.recipes import DpoRecipe
from policies.training.engines import course, savepoints
from policies.training.engines.engine import COMMON, Lesson, Run, Trained
from policies.training.jobs import PlanJob, TrainJob
from policies.training.layout import CHECKPOINTS
from policies.training.model import checkpoints, lora, probe
from policies.training.model.dataset import prepare
from policies.training.model.rendering import Rendering
from policies.training.planning.dpo import decide
from policies.training.planning.plan import Facts, TrainingPlan, watched
from policies.training.planning.shape import lengths_of

STEPS = 6
WEIGHTS = "weights.safetensors"


class Nudge:
    """Moves the adapter's weights a little each step, whatever the prompts are. `bad` is a step whose loss is
    not a number.
    """

    figures = (*COMMON, "size")
    remedy = "nudge harder"

    def __init__(self, size: float = 0.05, *, bad: int | None = None) -> None:
        self._size = size
        self._bad = bad

    def prepare(
        self, job: PlanJob | TrainJob, rendering: Rendering, positions: int | None
    ) -> Lesson[list[int]]:
        pairs = snapshot.read(job.snapshot, job.snapshot_id).pairs
        examples = prepare(pairs, rendering, 200).examples
        prompts = [list(each) for each in dict.fromkeys(tuple(example.prompt) for example in examples)]
        return Lesson(
            items=prompts,
            offered=len(pairs),
            left_out={"asked_twice": len(pairs) - len(prompts)},
            told=f"{len(prompts)} prompts",
            lengths=lengths_of(examples),
            prompts=prompts,
            probe=probe.draw(examples, job.seed),
        )

    def plan(self, recipe: DpoRecipe, guards: TrainingGuards, facts: Facts) -> TrainingPlan:
        of = decide(recipe, guards, facts)
        resolved = of.recipe.model_copy(update={"steps": STEPS})
        return watched(recipe, resolved, guards, facts, memory=of.memory, flops=1e6, refusal="")

    def train(self, run: Run[list[int]]) -> Trained:
        pupil = course.begin(run)
        weights = lora.trainable(pupil.model)
        before = lora.fingerprint(weights)
        resumed = course.taken_up(run, pupil.watch)
        state = TrainerState(global_step=0, max_steps=run.plan.recipe.steps)
        if resumed:
            savepoints.restore(weights, resumed / WEIGHTS)
            state.global_step = checkpoints.step_of(resumed) or 0
        first = state.global_step
        run.reporter.report("ready", note=run.lesson.told)
        self._steps(run, pupil, weights, state)
        reached = course.Reached(state.global_step, state.max_steps, first, {"nudges": state.global_step})
        return course.conclude(run, pupil, reached, before=before)

    def _steps(self, run: Run[Any], pupil: course.Pupil, weights: Any, state: TrainerState) -> None:
        """Calls the watch as the Trainer would."""
        watch, control = pupil.watch, TrainerControl()
        watch.on_train_begin(None, state, control, model=pupil.model)
        while state.global_step < state.max_steps and not control.should_training_stop:
            state.global_step += 1
            generator = torch.Generator().manual_seed(state.global_step)
            with torch.no_grad():
                for value in weights.values():
                    value.add_(self._size * torch.randn(value.shape, generator=generator))
            control.should_save = state.global_step % 2 == 0
            watch.on_step_end(None, state, control, model=pupil.model)
            loss = math.nan if state.global_step == self._bad else 1 / state.global_step
            logs = {"loss": loss, "grad_norm": 0.0, "learning_rate": 1.0, "size": self._size, "other": 1.0}
            watch.on_log(None, state, control, logs=logs, model=pupil.model)
            if control.should_save:
                directory = run.job.out / CHECKPOINTS / f"{checkpoints.PREFIX}{state.global_step}"
                directory.mkdir(parents=True)
                savepoints.keep(weights, directory / WEIGHTS)
                savepoints.finish(directory, watch.state())
                watch.on_save(None, state, control, model=pupil.model)
