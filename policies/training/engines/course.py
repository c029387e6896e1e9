"""What the engines have in common whose adapter is a policy: how a run begins, goes on, and ends.

Whether transformers' Trainer makes the steps or a loop of the engine's own does not matter here; `on_trainer`
is the whole way for the former.
"""

import math
import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import Trainer, set_seed

from policies.training import together
from policies.training.ending import end
from policies.training.engines import savepoints
from policies.training.engines.engine import Run, Trained
from policies.training.errors import JobError
from policies.training.guarding.monitor import Monitor
from policies.training.guarding.reader import Reader
from policies.training.jobs import TrainJob
from policies.training.layout import ADAPTER, CHECKPOINTS
from policies.training.model import checkpoints, lora
from policies.training.place import here
from policies.training.planning.memory import READ_AT_ONCE
from policies.training.sampling.questions import Question

BYTES_KEPT = 4 * (3 * 4 + 2)
"""A trainable weight on disk: with its optimiser's two moments and the reference's copy in three checkpoints
(two are kept while the next is written), in the run's adapter and in the published one; four bytes each."""


@dataclass(frozen=True, slots=True)
class Pupil:
    """The policy that learns: the base with its adapter, and who looks on."""

    model: Any
    trainable: int
    watch: Monitor
    start: str | None
    """The adapter on the model that training starts from: a frozen copy of the parent; None: the base. The
    engine puts it there before the first step: TRL's trainers do so themselves, `Roles.copy` does it for
    others."""
    reference: str | None
    """The adapter on the model that the loss compares with; None: the base. It is `start`, or the base, or of
    a run that starts from the base an adapter that the engine puts there."""
    started: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a run came: the step, of how many, from which checkpoint, and figures of the whole.

    `halted`: why the engine itself ended it, where its watch did not.
    """

    step: int
    steps: int
    resumed_from: int
    figures: Mapping[str, float] = field(default_factory=dict)
    halted: str | None = None


def begin(run: Run[Any]) -> Pupil:
    """Puts the adapter on the base. Raises JobError where it has no weight, or the disk no room for it."""
    job = run.job
    set_seed(job.seed)
    shape = job.recipe.lora
    model = lora.continued(run.base, job.parent, shape) if job.parent else lora.fresh(run.base, shape)
    trainable = sum(value.numel() for value in lora.trainable(model).values())
    if trainable == 0:
        raise JobError("the adapter has no trainable weight: recipe.lora.target_modules matches nothing")
    make_sure_of_space(job, trainable)
    start = lora.REFERENCE if job.parent else None
    reference = {"start": start, "base": None}.get(str(job.reference), lora.REFERENCE)
    reader = Reader(
        rendering=run.rendering,
        questions=_choose(run.lesson.prompts, run.plan.samples, job.seed),
        at_once=run.plan.recipe.at_once * READ_AT_ONCE,
        start=start,
        reference=reference,
        max_new_tokens=job.guard_max_new_tokens,
        seed=job.seed,
    )
    watch = Monitor(
        reader=reader,
        figures=run.figures,
        guards=job.guards,
        every_steps=run.plan.every_steps,
        reporter=run.reporter,
        stopping=run.stopping,
    )
    run.check()
    return Pupil(model, trainable, watch, start, reference)


def taken_up(run: Run[Any], watch: Monitor) -> Path | None:
    """The checkpoint to go on from, with what the guards had seen by then taken up; None: from the start."""
    directory = together.agreed(lambda: checkpoints.newest(run.job.out / CHECKPOINTS))
    if directory is not None:
        watch.restore(directory / savepoints.EXTRA)
        run.reporter.report("resumed", step=checkpoints.step_of(directory) or 0)
    return directory


def on_trainer(run: Run[Any], pupil: Pupil, trainer: Trainer) -> Trained:
    """Trains by the Trainer, which has the pupil's model and its watch among the callbacks."""
    before = lora.fingerprint(lora.trainable(pupil.model))
    resume = taken_up(run, pupil.watch)
    outcome = trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    reached = Reached(
        step=trainer.state.global_step,
        steps=trainer.state.max_steps,
        resumed_from=checkpoints.step_of(resume) or 0 if resume else 0,
        figures={"mean_loss": outcome.training_loss},
    )
    # Its mixed precision goes with the trainer: what is scored is the model that others will load.
    return conclude(
        run,
        pupil,
        reached,
        before=before,
        release=lambda: trainer.accelerator.unwrap_model(pupil.model, keep_fp32_wrapper=False),
    )


def conclude(
    run: Run[Any],
    pupil: Pupil,
    reached: Reached,
    *,
    before: str,
    release: Callable[[], object] = lambda: None,
) -> Trained:
    """Measures a last time, and where the run went to its end scores the adapter and writes it.

    `before` is the fingerprint of the trainable weights before the first step (of a run that is taken up,
    too). `release` is called between the two, to take off the model what training put around it. Raises
    JobError where what was written is not what was trained.
    """
    watch, step, steps = pupil.watch, reached.step, reached.steps
    if (watch.halted or reached.halted) is None and step >= steps:
        watch.last_look(pupil.model, step)
    halted = watch.halted or reached.halted
    ended = Trained(
        state="done",
        steps=step,
        resumed_from=reached.resumed_from,
        trainable=pupil.trainable,
        seconds=time.monotonic() - pupil.started,
        figures=_finite({**watch.all_figures(), **reached.figures}),
        readings=tuple(watch.readings),
        divergences=watch.divergences(step),
    )
    if halted is not None:
        return replace(ended, state="halted", reason=halted)
    if step < steps:
        return replace(ended, state="stopped", reason=f"asked to stop at step {step} of {steps}")
    if not here().leads:
        return ended
    release()
    return _written(run, pupil, ended, before)


def _written(run: Run[Any], pupil: Pupil, ended: Trained, before: str) -> Trained:
    """What is said of a training that went to its end."""
    job = run.job
    ending = end(
        pupil.model,
        run.base,
        run.lesson.probe,
        job.out / ADAPTER,
        reference=pupil.start,
        before=before,
        served_as=job.served_as,
        remedy=run.remedy,
    )
    if ending.reason is not None:
        return replace(ended, state="unchanged", reason=ending.reason, probe=ending.probe)
    return replace(ended, files=ending.files, probe=ending.probe)


def make_sure_of_space(job: TrainJob, trainable: int) -> None:
    """Raises JobError where the disk cannot hold the checkpoints and the adapter."""
    needed = trainable * BYTES_KEPT
    free = shutil.disk_usage(job.out).free
    if free < needed:
        raise JobError(
            f"{job.out}: {free / 1e9:.1f} GB are free and checkpoints and adapter need {needed / 1e9:.1f} GB"
        )


def _choose(prompts: Sequence[Sequence[int]], samples: int, seed: int) -> list[Question]:
    """The prompts that the guards sample answers to: the same ones all through the run, each once."""
    distinct = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
    return [Question(ids) for ids in random.Random(seed).sample(distinct, min(samples, len(distinct)))]


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if math.isfinite(value)}
