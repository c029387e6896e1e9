"""One training job from snapshot to adapter files."""

import gc
import math
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PrinterCallback, set_seed

from policies.training import lesson as lessons
from policies.training.durable import write_whole
from policies.training.ending import end
from policies.training.engines import batches, dpo
from policies.training.errors import JobError, StoppedError
from policies.training.guarding.monitor import Watch
from policies.training.jobs import ADAPTER, CHECKPOINTS, PLAN, TrainJob, TrainResult
from policies.training.lesson import Lesson
from policies.training.model import checkpoints, lora
from policies.training.model.dataset import Prepared
from policies.training.model.lora import Base
from policies.training.model.rendering import Rendering
from policies.training.planning.memory import READ_AT_ONCE
from policies.training.planning.plan import Plan
from policies.training.progress import Reporter
from policies.training.sampling.questions import Question

BYTES_KEPT = 4 * (3 * 4 + 2)
"""A trainable weight on disk: with its optimiser's two moments and the reference's copy in three checkpoints
(two are kept while the next is written), in the run's adapter and in the published one; four bytes each."""


@dataclass(frozen=True, slots=True)
class _Setup:
    """What a run needs, made once."""

    base: Base
    rendering: Rendering
    model: Any
    prepared: Prepared
    watch: Watch
    trainable: int
    notes: tuple[str, ...]


def train(job: TrainJob, reporter: Reporter, stopping: Callable[[], bool]) -> TrainResult:
    """Runs the job. Raises JobError or SnapshotError where it cannot be done as asked.

    A run whose batch does not fit the device's memory after all is begun again with a smaller one and the
    more accumulation, which is the same training.
    """
    lesson = lessons.read(job)
    plan = lessons.taken_up(job, lesson)
    while True:
        if plan.refusal:
            raise JobError(plan.refusal)
        write_whole(job.out / PLAN, plan)
        reporter.report("planned", note=str(plan))
        try:
            return _train(job, plan, lesson, reporter, stopping)
        except torch.OutOfMemoryError:
            if plan.recipe.batch_size == 1:
                raise
        # Only out here is the error gone, and with it what holds the failed attempt's tensors.
        gc.collect()
        torch.cuda.empty_cache()
        plan = plan.smaller()
        reporter.report("started", note=f"out of memory: again with batches of {plan.recipe.batch_size}")


def _train(
    job: TrainJob, plan: Plan, lesson: Lesson, reporter: Reporter, stopping: Callable[[], bool]
) -> TrainResult:
    setup = _prepare(job, plan, lesson, reporter, stopping)
    _check(stopping)
    start = time.monotonic()
    trainer = _trainer(job, plan, setup, reporter, stopping)
    before = lora.fingerprint(lora.trainable(setup.model))
    resume = checkpoints.newest(job.out / CHECKPOINTS)
    resumed = checkpoints.step_of(resume) or 0 if resume else 0
    if resume:
        setup.watch.restore(resume / dpo.EXTRA)
        reporter.report("resumed", step=resumed)
    outcome = trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    step, steps = trainer.state.global_step, trainer.state.max_steps
    watch = setup.watch
    if watch.halted is None and step >= steps and watch.readings[-1].step != step:
        watch.measure(setup.model, step)
    result = TrainResult(
        state="done",
        steps=step,
        resumed_from=resumed,
        pairs=len(setup.prepared.examples),
        identical=setup.prepared.left_out["identical"],
        too_long=setup.prepared.left_out["too_long"],
        unfit=setup.prepared.left_out["unfit"],
        trainable=setup.trainable,
        metrics=_metrics(watch, outcome.training_loss),
        readings=tuple(watch.readings),
        plan=plan,
        rate=None if resumed else plan.flops / (time.monotonic() - start),
    )
    if watch.halted is not None:
        return result.model_copy(update={"state": "halted", "reason": watch.halted})
    if step < steps:
        return result.model_copy(
            update={"state": "stopped", "reason": f"asked to stop at step {step} of {steps}"}
        )
    # Its mixed precision goes with the trainer: what is scored is the model that others will load.
    trainer.accelerator.unwrap_model(setup.model, keep_fp32_wrapper=False)
    return result.model_copy(update=_ended(job, setup, before))


def _ended(job: TrainJob, setup: _Setup, before: str) -> dict[str, Any]:
    """What the result says of a training that went to its end."""
    ending = end(
        setup.model,
        setup.base,
        setup.prepared.examples,
        job.out / ADAPTER,
        reference=_reference(job),
        before=before,
        seed=job.seed,
        served_as=job.served_as,
    )
    if ending.reason is not None:
        return {"state": "unchanged", "reason": ending.reason, "probe": ending.probe}
    return {"files": ending.files, "probe": ending.probe}


def _reference(job: TrainJob) -> str | None:
    """The adapter on the model that the loss compares with: a frozen copy of the parent; None: the base."""
    return "ref" if job.parent else None


def _prepare(
    job: TrainJob, plan: Plan, lesson: Lesson, reporter: Reporter, stopping: Callable[[], bool]
) -> _Setup:
    base = lora.load(job.base_model, job.revision, job.device, job.bf16)
    _check(stopping)
    rendering = Rendering(base.tokenizer, generation=base.model.generation_config, day=job.day)
    set_seed(job.seed)
    shape = job.recipe.lora
    model = lora.continued(base, job.parent, shape) if job.parent else lora.fresh(base, shape)
    trainable = sum(value.numel() for value in lora.trainable(model).values())
    if trainable == 0:
        raise JobError("the adapter has no trainable weight: recipe.lora.target_modules matches nothing")
    _make_sure_of_space(job, trainable)
    watch = Watch(
        rendering=rendering,
        questions=_choose(lesson.prepared, plan.samples, job.seed),
        guards=job.guards,
        every_steps=plan.every_steps,
        at_once=plan.recipe.batch_size * READ_AT_ONCE,
        reference=_reference(job),
        max_new_tokens=job.guard_max_new_tokens,
        seed=job.seed,
        reporter=reporter,
        stopping=stopping,
    )
    return _Setup(base, rendering, model, lesson.prepared, watch, trainable, lesson.notes)


def _trainer(
    job: TrainJob, plan: Plan, setup: _Setup, reporter: Reporter, stopping: Callable[[], bool]
) -> dpo.PairTrainer:
    recipe, pairs = plan.recipe, len(setup.prepared.examples)
    trainer = dpo.PairTrainer(
        sft_weight=recipe.sft_weight,
        warmup_steps=recipe.warmup_steps,
        check_margin=recipe.lora.dropout == 0 and checkpoints.newest(job.out / CHECKPOINTS) is None,
        extra_state=setup.watch.state,
        pad=setup.rendering.pad,
        rows=batches.rows(setup.prepared.examples),
        model=setup.model,
        args=dpo.arguments(recipe, job.out / CHECKPOINTS, setup.base, job.seed),
        processing_class=setup.base.tokenizer,
        callbacks=[setup.watch],
    )
    trainer.remove_callback(PrinterCallback)
    if job.parent is None:
        # A new adapter's reference is the base itself: a frozen copy of an empty adapter only costs time.
        trainer.model.delete_adapter(dpo.REFERENCE)
    notes = [setup.prepared.told, *setup.notes, *([trainer.share()] if recipe.trainer == "shared" else [])]
    reporter.report("ready", metrics={"trainable": setup.trainable, "pairs": pairs}, note="; ".join(notes))
    if recipe.reference_once:
        trainer.keep_reference(setup.base, _passes(reporter, stopping))
    return trainer


def _passes(reporter: Reporter, stopping: Callable[[], bool]) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        _check(stopping)
        reporter.report("reference", note=f"{done} of {total} pairs")

    return tell


def _make_sure_of_space(job: TrainJob, trainable: int) -> None:
    """Raises JobError where the disk cannot hold the checkpoints and the adapter."""
    needed = trainable * BYTES_KEPT
    free = shutil.disk_usage(job.out).free
    if free < needed:
        raise JobError(
            f"{job.out}: {free / 1e9:.1f} GB are free and checkpoints and adapter need {needed / 1e9:.1f} GB"
        )


def _choose(prepared: Prepared, samples: int, seed: int) -> list[Question]:
    """The prompts that the guards sample answers to: the same ones all through the run, each once."""
    prompts = list(dict.fromkeys(tuple(example.prompt) for example in prepared.examples))
    return [Question(ids) for ids in random.Random(seed).sample(prompts, min(samples, len(prompts)))]


def _metrics(watch: Watch, mean_loss: float) -> dict[str, float]:
    last = watch.readings[-1]
    found = watch.last | {
        "mean_loss": mean_loss,
        "kl_sequence": last.kl_sequence,
        "kl_token": last.kl_token,
        "entropy": last.entropy,
        "entropy_first": watch.readings[0].entropy,
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _check(stopping: Callable[[], bool]) -> None:
    if stopping():
        raise StoppedError("asked to stop before the first step")
