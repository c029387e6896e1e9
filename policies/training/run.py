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
from datasets import Dataset
from transformers import PrinterCallback, set_seed

from policies.training import lesson as lessons
from policies.training.durable import write_whole
from policies.training.engines import batches, dpo
from policies.training.errors import JobError, StoppedError
from policies.training.guarding.monitor import Watch
from policies.training.jobs import ADAPTER, CHECKPOINTS, PLAN, Messages, TrainJob, TrainResult
from policies.training.lesson import Lesson
from policies.training.model import checkpoints, lora
from policies.training.model.dataset import Prepared
from policies.training.model.lora import Base
from policies.training.planning.memory import READ_AT_ONCE
from policies.training.planning.plan import Plan
from policies.training.progress import Reporter

BYTES_KEPT = 4 * (3 * 4 + 2)
"""A trainable weight on disk: with its optimiser's two moments and the reference's copy in three checkpoints
(two are kept while the next is written), in the run's adapter and in the published one; four bytes each."""


@dataclass(frozen=True, slots=True)
class _Setup:
    """What a run needs, made once."""

    base: Base
    model: Any
    prepared: Prepared
    watch: Watch
    trainable: int


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
        identical=setup.prepared.identical,
        too_long=setup.prepared.too_long,
        unfit=setup.prepared.unfit,
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
    if lora.fingerprint(lora.trainable(setup.model)) == before:
        raise JobError("training changed no weight: the learning rate or the data teach nothing")
    return result.model_copy(update={"files": lora.save(setup.model, job.out / ADAPTER, setup.base)})


def _prepare(
    job: TrainJob, plan: Plan, lesson: Lesson, reporter: Reporter, stopping: Callable[[], bool]
) -> _Setup:
    base = lora.load(job.base_model, job.revision, job.device, job.bf16)
    _check(stopping)
    set_seed(job.seed)
    shape = job.recipe.lora
    model = lora.continued(base, job.parent, shape) if job.parent else lora.fresh(base, shape)
    trainable = sum(value.numel() for value in lora.trainable(model).values())
    if trainable == 0:
        raise JobError("the adapter has no trainable weight: recipe.lora.target_modules matches nothing")
    _make_sure_of_space(job, trainable)
    prompts = list(dict.fromkeys(pair.prompt for pair in lesson.pairs))
    watch = Watch(
        tokenizer=base.tokenizer,
        prompts=_choose(prompts, plan.samples, job.seed),
        guards=job.guards,
        every_steps=plan.every_steps,
        at_once=plan.recipe.batch_size * READ_AT_ONCE,
        reference="ref" if job.parent else None,
        max_new_tokens=job.guard_max_new_tokens,
        seed=job.seed,
        reporter=reporter,
        stopping=stopping,
    )
    figures = {"trainable": trainable, "pairs": len(lesson.prepared.examples)}
    reporter.report("ready", metrics=figures, note=lessons.noted(lesson))
    return _Setup(base, model, lesson.prepared, watch, trainable)


def _trainer(
    job: TrainJob, plan: Plan, setup: _Setup, reporter: Reporter, stopping: Callable[[], bool]
) -> dpo.PairTrainer:
    rows = batches.rows(setup.prepared.examples)
    recipe = plan.recipe
    trainer = dpo.PairTrainer(
        sft_weight=recipe.sft_weight,
        warmup_steps=recipe.warmup_steps,
        check_margin=recipe.lora.dropout == 0 and checkpoints.newest(job.out / CHECKPOINTS) is None,
        extra_state=setup.watch.state,
        model=setup.model,
        args=dpo.arguments(recipe, job.out / CHECKPOINTS, setup.base, job.seed),
        train_dataset=Dataset.from_list(rows),
        processing_class=setup.base.tokenizer,
        data_collator=batches.Collator(setup.base.tokenizer.pad_token_id),
        callbacks=[setup.watch],
    )
    trainer.remove_callback(PrinterCallback)
    if job.parent is None:
        # A new adapter's reference is the base itself: a frozen copy of an empty adapter only costs time.
        trainer.model.delete_adapter("ref")
    if recipe.reference_once:
        trainer.train_dataset = dpo.with_reference(trainer, rows, _passes(reporter, stopping))
        trainer.precompute_ref_logps = True
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


def _choose(prompts: list[Messages], samples: int, seed: int) -> list[Messages]:
    """The prompts that the guards sample answers to: the same ones all through the run."""
    return random.Random(seed).sample(prompts, min(samples, len(prompts)))


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
