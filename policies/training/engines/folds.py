"""A whole reward model from preferences: its folds one after another, calibrated, written, and read back."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback, set_seed
from trl.trainer.utils import disable_dropout_in_model

from policies import calibration
from policies.calibration import PRIOR, Calibration
from policies.training.engines import batches, heads, reward, reward_model
from policies.training.engines.heads import HEAD, Scorer, Sequences
from policies.training.engines.passes import Passes
from policies.training.engines.reward import Finite, RewardTrainer
from policies.training.engines.roles import Roles
from policies.training.errors import JobError
from policies.training.jobs import AdapterFile
from policies.training.layout import CHECKPOINTS, REWARD
from policies.training.model import checkpoints, lora
from policies.training.model.dataset import Example
from policies.training.model.lora import LoadedBase
from policies.training.planning.resolved import ResolvedReward

CALIBRATED = 10
"""One prompt of so many is calibrated on."""
PROBES = 16
"""Pairs whose scores must be the same once the files are read back."""
TOLERANCE = {torch.float32: 1e-4}
ROUNDED = 0.05
"""How far such a score may be off, and how far where the base computes in half precision."""


@dataclass(frozen=True, slots=True)
class Point:
    """An answer with the reward that its judge gave it, to calibrate on."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    reward: float


@dataclass(frozen=True, slots=True)
class FoldSettings:
    """Everything about a training but its data: where it writes, and who looks on."""

    base: LoadedBase
    pad: int
    recipe: ResolvedReward
    out: Path
    seed: int
    callbacks: Sequence[TrainerCallback] = ()
    extra_state: Callable[[], str] = str


@dataclass(frozen=True, slots=True)
class TrainedFolds:
    """How the training of a reward model ended.

    `done`: `files` are there, by their paths in `<out>/reward`. `stopped`: it was asked to, and left a
    checkpoint. `halted`: a loss was not finite. Of figures `accuracy` is the last step's; with two folds or
    more `held_out` is the share of left-out pairs that the fold that had not seen them puts in order.
    """

    state: Literal["done", "stopped", "halted"]
    reason: str = ""
    steps: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    calibrations: tuple[Calibration, ...] = ()
    files: dict[str, AdapterFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Fold:
    """One trained fold: what it says of the probes, and of the pairs that it has not seen."""

    steps: int
    accuracy: float
    ordered: int
    left_out: int
    calibration: Calibration
    probes: list[float]
    files: dict[str, AdapterFile]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a trained fold is asked: pairs that it has not seen, probes, and points to calibrate on."""

    left: Sequence[Example]
    probes: Sequence[Example]
    points: Sequence[Point]


def train(settings: FoldSettings, examples: Sequence[Example], points: Sequence[Point] = ()) -> TrainedFolds:
    """Trains, calibrates on the points where there are any, writes to `<out>/reward` and reads back.

    The base is bare before and after. Raises JobError where the data cannot be had in so many folds, where
    scores do not rise with the points' rewards, and where what is read back is not what was trained.
    """
    if not examples:
        raise JobError("no pairs to learn a reward model from")
    folds: list[_Fold] = []
    for number in range(settings.recipe.folds):
        fold = _fold(settings, number, examples, points)
        if isinstance(fold, TrainedFolds):
            return fold
        folds.append(fold)
    calibrations = tuple(fold.calibration for fold in folds)
    files = {name: file for fold in folds for name, file in fold.files.items()}
    files[reward_model.MANIFEST] = reward_model.write_manifest(settings.out / REWARD, calibrations)
    _read_back(settings, examples, folds)
    left_out = sum(fold.left_out for fold in folds)
    figures = {"accuracy": folds[-1].accuracy}
    if left_out:
        figures["held_out"] = sum(fold.ordered for fold in folds) / left_out
    steps = sum(fold.steps for fold in folds)
    return TrainedFolds("done", steps=steps, figures=figures, calibrations=calibrations, files=files)


def split(examples: Sequence[Example], number: int, folds: int) -> tuple[list[Example], list[Example]]:
    """What a fold learns from and what it leaves out: a part of the prompts, by hash, none where it is alone.

    Pairs of one prompt stay together. Raises JobError where a fold would have nothing on one side.
    """
    if folds == 1:
        return list(examples), []
    learned: list[Example] = []
    left: list[Example] = []
    for example in examples:
        key = hashlib.sha256(",".join(map(str, example.prompt)).encode()).digest()
        (left if int.from_bytes(key[:8], "big") % folds == number else learned).append(example)
    if not learned or not left:
        raise JobError(
            f"{len(examples)} pairs do not fill {folds} folds: lower policy.recipe.folds or wait for more"
        )
    return learned, left


def held_out(examples: Sequence[Example]) -> tuple[list[Example], list[Point]]:
    """What is learned from, and points to calibrate on: both answers of the pairs of a tenth of the prompts,
    which are then not learned from, as scores of learned answers are further apart than those of new ones.
    Prompts with a pair that has no points, as people's have none, are not among them: labels are too dear.
    Without points, and all pairs learned from, where that tenth has fewer than a calibration takes.
    """
    pointless = {tuple(each.prompt) for each in examples if each.chosen_reward is None}
    tenth = [each for each in examples if _place(each) % CALIBRATED == 0]
    held = [each for each in tenth if tuple(each.prompt) not in pointless]
    rewards = [reward for each in held for reward in (each.chosen_reward, each.rejected_reward)]
    points = [
        Point(tuple(prompt), tuple(answer), reward)
        for (prompt, answer), reward in zip(answers_of(held), rewards, strict=True)
        if reward is not None
    ]
    learned = [each for each in examples if _place(each) % CALIBRATED or tuple(each.prompt) in pointless]
    if len(points) < calibration.LEAST_POINTS or not learned:
        return list(examples), []
    return learned, points


def _place(example: Example) -> int:
    """A number that the prompt alone decides."""
    key = hashlib.sha256(",".join(map(str, example.prompt)).encode()).digest()
    return int.from_bytes(key[8:16], "big")


def _fold(
    settings: FoldSettings, number: int, examples: Sequence[Example], points: Sequence[Point]
) -> _Fold | TrainedFolds:
    """One fold, from its checkpoint where it has one; `TrainedFolds` where that was not to its end."""
    recipe, base, seed = settings.recipe, settings.base, settings.seed + number
    learned, left = split(examples, number, recipe.folds)
    set_seed(seed)
    model = lora.fresh(base, recipe.lora)
    try:
        if recipe.lora.dropout == 0:
            disable_dropout_in_model(model)
        scorer = Scorer(model, heads.fresh(heads.width_of(model), seed, base.device))
        trainer, finite = _trainer(settings, number, scorer, learned)
        folder = Path(trainer.args.output_dir)
        resume = checkpoints.newest(folder)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        ended = _ended(trainer, finite, number, recipe.folds)
        return ended or _described(settings, number, trainer, _Asked(left, examples[:PROBES], points))
    finally:
        model.unload()


def _trainer(
    settings: FoldSettings, number: int, scorer: Scorer, learned: Sequence[Example]
) -> tuple[RewardTrainer, Finite]:
    finite = Finite()
    out = settings.out / CHECKPOINTS / reward_model.fold_name(number)
    trainer = RewardTrainer(
        model=scorer,
        recipe=settings.recipe,
        extra_state=settings.extra_state,
        args=reward.arguments(settings.recipe, out, settings.base, settings.seed + number),
        train_dataset=Dataset.from_list(batches.rows(learned)),
        data_collator=batches.Collator(settings.pad),
        callbacks=[finite, *settings.callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer, finite


def _ended(trainer: RewardTrainer, finite: Finite, number: int, folds: int) -> TrainedFolds | None:
    """Why the fold's training ended before its end; None where it did not."""
    step, steps = trainer.state.global_step, trainer.state.max_steps
    if finite.reason is not None:
        return TrainedFolds("halted", finite.reason, step)
    if step < steps:
        return TrainedFolds(
            "stopped", f"asked to stop at step {step} of {steps} of fold {number + 1} of {folds}", step
        )
    return None


def _described(settings: FoldSettings, number: int, trainer: RewardTrainer, asked: _Asked) -> _Fold:
    """The trained fold's scores, and its files."""
    scorer = trainer.model.eval()
    passes = Passes(scorer.model, settings.pad)

    def scores(sequences: Sequences) -> list[float]:
        return heads.scores(passes, scorer.head, sequences, reward_model.BATCH)

    left = scores(answers_of(asked.left))
    directory = settings.out / REWARD / reward_model.fold_name(number)
    name = f"{directory.name}/"
    files = {name + file: each for file, each in lora.save(scorer.model, directory, settings.base).items()}
    files[name + HEAD] = heads.save(scorer.head, directory)
    return _Fold(
        steps=trainer.state.global_step,
        accuracy=next(log["accuracy"] for log in reversed(trainer.state.log_history) if "accuracy" in log),
        ordered=sum(good > bad for good, bad in zip(left[::2], left[1::2], strict=True)),
        left_out=len(asked.left),
        calibration=_calibrated(asked.points, scores([(each.prompt, each.answer) for each in asked.points])),
        probes=scores(answers_of(asked.probes)),
        files=files,
    )


def answers_of(examples: Sequence[Example]) -> list[tuple[list[int], list[int]]]:
    """Prompt and answer of every pair's two sides, chosen before rejected, each up to its last own token."""
    return [
        (example.prompt, ids[: max(index for index, own in enumerate(mask) if own) + 1])
        for example in examples
        for ids, mask in ((example.chosen, example.chosen_mask), (example.rejected, example.rejected_mask))
    ]


def _calibrated(points: Sequence[Point], scores: Sequence[float]) -> Calibration:
    if not points:
        return PRIOR
    try:
        return calibration.fit([(score, point.reward) for score, point in zip(scores, points, strict=True)])
    except ValueError as error:
        raise JobError(f"the reward model cannot be calibrated: {error}") from None


def _read_back(settings: FoldSettings, examples: Sequence[Example], folds: Sequence[_Fold]) -> None:
    """Raises JobError unless the files, on the bare base, give the scores that the trained model gave."""
    model = lora.fresh(settings.base, settings.recipe.lora)
    try:
        read = reward_model.load(Roles(model, settings.pad), settings.out / REWARD, settings.base)
        again = read.scores(answers_of(examples[:PROBES]))
    finally:
        model.unload()
    pairs = zip(
        (score for fold in folds for score in fold.probes), (s for row in again for s in row), strict=True
    )
    worst = max(abs(one - other) for one, other in pairs)
    if not worst <= TOLERANCE.get(settings.base.model.dtype, ROUNDED):
        raise JobError(f"the reward model read back is not what was trained: a score is {worst:.4g} off")
