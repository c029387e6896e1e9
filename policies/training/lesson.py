"""What a run learns from, and the plan that follows: all that can be known before a weight is loaded."""

import time
from dataclasses import replace
from typing import Any

import torch
from pydantic import ValidationError

from policies.training.engines.engine import Lesson
from policies.training.engines.registry import engine_of
from policies.training.jobs import PlanJob, PlanResult, TrainJob
from policies.training.layout import CHECKPOINTS, PLAN
from policies.training.model import checkpoints, device, loading, selftest
from policies.training.model.outline import outline
from policies.training.model.rendering import Rendering
from policies.training.model.responses import Responses
from policies.training.planning.memory import Setting
from policies.training.planning.plan import MOST_SAMPLES, Facts, TrainingPlan
from policies.training.sampling.questions import positions_of

PROBE_S = 1.0
PROBE_TOKENS = 1024
REACHED = {"cpu": 0.7, "cuda": 0.35}
"""Share of a bare matrix product's speed that a whole training step reaches."""


def read(job: PlanJob | TrainJob) -> Lesson[Any]:
    """Reads and tokenises the job's snapshot, as its method does.

    Raises SnapshotError, and JobError where the family cannot be trained rightly or nothing is left.
    """
    config = loading.load_config(job.base_model, job.revision)
    tokenizer = loading.load_tokenizer(job.base_model, job.revision)
    generation = loading.generation_settings(job.base_model, job.revision)
    rendering = Rendering(tokenizer, generation=generation, day=job.day)
    notes = selftest.require(rendering, Responses(rendering), job.base_model)
    positions = positions_of(config, tokenizer)
    return replace(engine_of(job.recipe).prepare(job, rendering, positions), notes=notes)


def plan_of(job: PlanJob | TrainJob, lesson: Lesson[Any]) -> TrainingPlan:
    """The plan at this moment. Raises JobError where the device is not there."""
    where = device.chosen(job.device)
    dtype = device.precision(where, job.bf16)
    samples = MOST_SAMPLES if job.guards.samples == "auto" else job.guards.samples
    facts = Facts(
        shape=outline(job.base_model, job.revision, job.recipe.lora),
        lengths=lesson.lengths,
        left_out=dict(lesson.left_out),
        cut=lesson.cut,
        setting=Setting(
            kind="cuda" if where.type == "cuda" else "cpu",
            precision="bfloat16" if dtype == torch.bfloat16 else "float32",
            continued=job.frozen,
            samples=min(samples, lesson.offered),
            max_new_tokens=job.guard_max_new_tokens,
            processes=job.launch.processes,
        ),
        there=_there(job, where),
    )
    return engine_of(job.recipe).plan(job.recipe, job.guards, facts)


def _there(job: PlanJob | TrainJob, where: torch.device) -> int | None:
    """Bytes for one process: each has a card of its own, but one machine's memory is for all of them."""
    there = device.memory(where, job.memory_gb)
    return there if there is None or where.type == "cuda" else there // job.launch.processes


def taken_up(job: TrainJob, lesson: Lesson[Any]) -> TrainingPlan:
    """The plan of the run in the job's directory where it left a checkpoint, else the plan at this moment."""
    now = plan_of(job, lesson)
    folders = (job.out / CHECKPOINTS, *(job.out / CHECKPOINTS).glob("*/"))
    left = [checkpoints.newest(folder) for folder in folders]
    try:
        kept = TrainingPlan.model_validate_json((job.out / PLAN).read_bytes())
    except (FileNotFoundError, ValidationError):
        return now
    goes_on = kept.asked == job.recipe and any(left)
    return kept.taken_up(now) if goes_on else now


def run_plan(job: PlanJob) -> PlanResult:
    """The plan, with this machine's speed. Raises JobError and SnapshotError."""
    lesson = read(job)
    plan = plan_of(job, lesson)
    return PlanResult(state="done", plan=plan.model_copy(update={"rate": _rate(job, plan)}))


def _rate(job: PlanJob, plan: TrainingPlan) -> float:
    """Floating-point operations a second that a training would reach: those of the model's own matrices."""
    where = device.chosen(job.device)
    dtype = device.precision(where, job.bf16)
    shape = plan.facts.shape
    left = torch.rand(PROBE_TOKENS, shape.hidden, device=where, dtype=dtype)
    right = torch.rand(shape.hidden, shape.feed_forward, device=where, dtype=dtype)
    start, products = time.monotonic(), 0
    while time.monotonic() - start < PROBE_S:
        total = (left @ right).sum().item()  # to wait for the device
        products += 1
    assert total >= 0
    made = products * 2 * PROBE_TOKENS * shape.hidden * shape.feed_forward
    return made / (time.monotonic() - start) * REACHED[plan.facts.setting.kind]
