"""The job that has a reward model grade pairs of answers: by how many points one is ahead of the other."""

from collections.abc import Callable, Sequence
from statistics import fmean

from policies.training.engines import folds, reward_model
from policies.training.engines.reward_model import RewardModel
from policies.training.engines.roles import Roles
from policies.training.errors import JobError, StoppedError
from policies.training.jobs import GradeJob, GradeResult
from policies.training.model import lora
from policies.training.model.dataset import Example, tokenise
from policies.training.model.lora import LoadedBase
from policies.training.model.rendering import Rendering, UnrenderableError
from policies.training.progress import Reporter
from policies.training.sampling.questions import positions_of

AT_ONCE = 64
"""Answers between two looks at whether the job was asked to stop."""

Graded = tuple[tuple[int, ...], tuple[int, ...]]
"""A prompt and an answer to it, as tokens."""


def run_grade(job: GradeJob, reporter: Reporter, stopping: Callable[[], bool]) -> GradeResult:
    """The lead of each pair's chosen answer over its rejected one. Raises JobError and StoppedError."""
    base = lora.load(job.base_model, job.revision, job.device, job.bf16)
    rendering = Rendering(base.tokenizer, generation=base.model.generation_config, day=job.day)
    examples, refused = _tokenised(job, base, rendering)
    reporter.report("ready", steps=len(examples))
    model = lora.with_adapters(base, {lora.POLICY: job.reward.path / reward_model.fold_name(0)})
    graded = reward_model.load(Roles(model, rendering.pad), job.reward.path, base)
    sides = [_sides(example) for _, example in examples]
    points = _points(graded, _each_once(sides), reporter, stopping)
    leads = {place: points[a] - points[b] for (place, _), (a, b) in zip(examples, sides, strict=True)}
    return GradeResult(
        state="done", leads=tuple(leads.get(place) for place in range(len(job.pairs))), refused=refused
    )


def _sides(example: Example) -> tuple[Graded, Graded]:
    """Both answers of a pair, chosen before rejected."""
    chosen, rejected = ((tuple(prompt), tuple(answer)) for prompt, answer in folds.answers_of([example]))
    return chosen, rejected


def _each_once(sides: Sequence[tuple[Graded, Graded]]) -> list[Graded]:
    """The answers of all pairs, each once though several pairs have it, those to one prompt side by side: an
    audit prompt's pairs are all that its few answers make, and come in any order.
    """
    return sorted({one for pair in sides for one in pair}, key=lambda one: (len(one[0]), *one))


def _points(
    graded: RewardModel, answers: Sequence[Graded], reporter: Reporter, stopping: Callable[[], bool]
) -> dict[Graded, float]:
    """The mean of the folds' points, uncut. Raises StoppedError."""
    found: dict[Graded, float] = {}
    for start in range(0, len(answers), AT_ONCE):
        if stopping():
            raise StoppedError(f"asked to stop after {start} of {len(answers)} answers")
        some = answers[start : start + AT_ONCE]
        for one, scores in zip(some, zip(*graded.scores(some), strict=True), strict=True):
            found[one] = fmean(
                line.uncut(score) for line, score in zip(graded.calibrations, scores, strict=True)
            )
        reporter.report("sampled", note=f"{start + len(some)} of {len(answers)} answers")
    return found


def _tokenised(
    job: GradeJob, base: LoadedBase, rendering: Rendering
) -> tuple[Sequence[tuple[int, Example]], dict[int, str]]:
    """The pairs as tokens by their places, and why those that cannot be graded cannot."""
    most = positions_of(base.model.config, base.tokenizer)
    found: list[tuple[int, Example]] = []
    refused: dict[int, str] = {}
    for place, pair in enumerate(job.pairs):
        try:
            example = tokenise(pair, rendering)
        except UnrenderableError as error:
            refused[place] = str(error)
            continue
        if most is not None and example.length > most:
            refused[place] = f"{example.length} tokens, and the model takes {most}"
            continue
        found.append((place, example))
    if job.pairs and not found:
        raise JobError(f"none of {len(job.pairs)} pairs can be graded: {next(iter(refused.values()))}")
    return found, refused
