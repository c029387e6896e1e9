"""What a run learns from, and the plan that follows: all that can be known before a weight is loaded."""

import time
from dataclasses import dataclass

import torch
from pydantic import ValidationError

from policies import snapshot
from policies.training.errors import JobError
from policies.training.jobs import CHECKPOINTS, PLAN, PlanJob, PlanResult, TrainJob
from policies.training.model import checkpoints, device, loading, selftest
from policies.training.model.dataset import Prepared, prepare
from policies.training.model.outline import outline
from policies.training.model.rendering import Rendering
from policies.training.model.responses import Responses
from policies.training.planning.memory import Setting
from policies.training.planning.plan import MOST_SAMPLES, Facts, Plan, decide
from policies.training.planning.shape import lengths_of
from policies.training.sampling.questions import positions_of

PROBE_S = 1.0
PROBE_TOKENS = 1024
REACHED = {"cpu": 0.7, "cuda": 0.35}
"""Share of a bare matrix product's speed that a whole training step reaches."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A snapshot's pairs, and the same as tokens. `notes`: what the base model's family cannot do."""

    pairs: tuple[snapshot.Pair, ...]
    prepared: Prepared
    notes: tuple[str, ...]


def read(job: PlanJob | TrainJob) -> Lesson:
    """Reads and tokenises the job's snapshot.

    Raises SnapshotError, and JobError where the family cannot be trained rightly or no pair is left.
    """
    frozen = snapshot.read(job.snapshot, job.snapshot_id)
    config = loading.load_config(job.base_model, job.revision)
    tokenizer = loading.load_tokenizer(job.base_model, job.revision)
    generation = loading.generation_settings(job.base_model, job.revision)
    rendering = Rendering(tokenizer, generation=generation, day=job.day)
    notes = selftest.require(rendering, Responses(rendering), job.base_model)
    positions = positions_of(config, tokenizer)
    most = job.recipe.max_length if positions is None else min(job.recipe.max_length, positions)
    lesson = Lesson(frozen.pairs, prepare(frozen.pairs, rendering, most), notes)
    if not lesson.prepared.examples:
        raise JobError(f"nothing to learn from: {lesson.prepared.told}")
    return lesson


def plan_of(job: PlanJob | TrainJob, lesson: Lesson) -> Plan:
    """The plan at this moment. Raises JobError where the device is not there."""
    where = device.chosen(job.device)
    dtype = device.precision(where, job.bf16)
    samples = MOST_SAMPLES if job.guards.samples == "auto" else job.guards.samples
    facts = Facts(
        shape=outline(job.base_model, job.revision, job.recipe.lora),
        lengths=lengths_of(lesson.prepared.examples),
        left_out={str(why): count for why, count in lesson.prepared.left_out.items()},
        cut=sum(pair.rejected_truncated for pair in lesson.pairs),
        setting=Setting(
            kind="cuda" if where.type == "cuda" else "cpu",
            precision="bfloat16" if dtype == torch.bfloat16 else "float32",
            continued=job.parent is not None,
            samples=min(samples, len(lesson.pairs)),
            max_new_tokens=job.guard_max_new_tokens,
        ),
        there=device.memory(where, job.memory_gb),
    )
    return decide(job.recipe, job.guards, facts)


def taken_up(job: TrainJob, lesson: Lesson) -> Plan:
    """The plan of the run in the job's directory where it left a checkpoint, else the plan at this moment."""
    now = plan_of(job, lesson)
    try:
        kept = Plan.model_validate_json((job.out / PLAN).read_bytes())
    except (FileNotFoundError, ValidationError):
        return now
    goes_on = kept.asked == job.recipe and checkpoints.newest(job.out / CHECKPOINTS) is not None
    return kept.taken_up(now) if goes_on else now


def run_plan(job: PlanJob) -> PlanResult:
    """The plan, with this machine's speed. Raises JobError and SnapshotError."""
    lesson = read(job)
    plan = plan_of(job, lesson)
    return PlanResult(state="done", plan=plan.model_copy(update={"rate": _rate(job, plan)}))


def _rate(job: PlanJob, plan: Plan) -> float:
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
