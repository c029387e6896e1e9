"""One training job from snapshot to adapter files, whatever its method."""

import gc
from collections.abc import Callable
from typing import Any

import torch

from policies import durable
from policies.training import lesson as lessons
from policies.training import together
from policies.training.engines.engine import Lesson, Run
from policies.training.engines.registry import engine_of
from policies.training.errors import JobError
from policies.training.jobs import TrainJob, TrainResult
from policies.training.layout import PLAN
from policies.training.model import loading, lora
from policies.training.model.rendering import Rendering
from policies.training.place import here
from policies.training.planning.plan import TrainingPlan
from policies.training.progress import Reporter


def train(job: TrainJob, reporter: Reporter, stopping: Callable[[], bool]) -> TrainResult:
    """Runs the job. Raises JobError or SnapshotError where it cannot be done as asked.

    A run whose batch does not fit the device's memory after all is begun again with a smaller one and the
    more accumulation, which is the same training; but not where other processes wait for this one's share.
    """
    together.meet(job)
    loading.checked(job.base_model)
    lesson = lessons.read(job)
    plan = together.agreed(lambda: lessons.taken_up(job, lesson))
    while True:
        if plan.refusal:
            raise JobError(plan.refusal)
        if here().leads:
            durable.write(job.out / PLAN, plan.model_dump_json().encode())
        reporter.report("planned", note=str(plan))
        try:
            return _train(job, plan, lesson, reporter, stopping)
        except torch.OutOfMemoryError as error:
            if not here().alone:
                raise JobError(
                    f"process {here().rank} ran out of memory with {plan.recipe.at_once} "
                    f"{plan.recipe.unit} at a time: write a smaller policy.recipe.batch_size"
                ) from error
            smaller = _smaller(plan)
            if smaller is None:
                raise
        # Only out here is the error gone, and with it what holds the failed attempt's tensors.
        gc.collect()
        torch.cuda.empty_cache()
        plan = smaller
        reporter.report("started", note=f"out of memory: again with batches of {plan.recipe.at_once}")


def _smaller(plan: TrainingPlan) -> TrainingPlan | None:
    """The same training with less in memory; None where there is nothing left to halve."""
    try:
        return plan.smaller()
    except ValueError:
        return None


def _train(
    job: TrainJob, plan: TrainingPlan, lesson: Lesson[Any], reporter: Reporter, stopping: Callable[[], bool]
) -> TrainResult:
    engine = engine_of(job.recipe)
    base = lora.load(job.base_model, job.revision, job.device, job.bf16)
    rendering = Rendering(base.tokenizer, generation=base.model.generation_config, day=job.day)
    run = Run(
        job=job,
        plan=plan,
        lesson=lesson,
        base=base,
        rendering=rendering,
        figures=engine.figures,
        remedy=engine.remedy,
        reporter=reporter,
        stopping=stopping,
    )
    run.check()
    trained = engine.train(run)
    in_one_go = trained.seconds > 0 and not trained.resumed_from
    return TrainResult(
        state=trained.state,
        reason=trained.reason,
        steps=trained.steps,
        resumed_from=trained.resumed_from,
        examples=len(lesson.items),
        left_out=dict(lesson.left_out),
        trainable=trained.trainable,
        metrics=dict(trained.figures),
        readings=trained.readings,
        divergences=trained.divergences,
        plan=plan,
        rate=plan.flops / trained.seconds if in_one_go else None,
        files=dict(trained.files),
        probe=trained.probe,
    )
