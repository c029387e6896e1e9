"""The job that has a reward model grade pairs of answers: by how many points one is ahead of the other."""

from collections.abc import Callable, Sequence
from statistics import fmean

from policies.training.engines import folds, reward_model
from policies.training.engines.roles import Roles
from policies.training.errors import JobError, StoppedError
from policies.training.jobs import GradeJob, GradeResult
from policies.training.model import lora
from policies.training.model.dataset import Example, tokenise
from policies.training.model.lora import LoadedBase
from policies.training.model.rendering import Rendering, UnrenderableError
from policies.training.progress import Reporter
from policies.training.sampling.questions import positions_of

AT_ONCE = 32
"""Pairs between two looks at whether the job was asked to stop."""


def run_grade(job: GradeJob, reporter: Reporter, stopping: Callable[[], bool]) -> GradeResult:
    """The lead of each pair's chosen answer over its rejected one. Raises JobError and StoppedError."""
    base = lora.load(job.base_model, job.revision, job.device, job.bf16)
    rendering = Rendering(base.tokenizer, generation=base.model.generation_config, day=job.day)
    examples, refused = _tokenised(job, base, rendering)
    reporter.report("ready", steps=len(examples))
    leads: dict[int, float] = {}
    first = reward_model.read_manifest(job.reward.path).calibrations
    model = lora.with_adapters(base, {lora.POLICY: job.reward.path / reward_model.fold_name(0)})
    graded = reward_model.load(Roles(model, rendering.pad), job.reward.path, base)
    for start in range(0, len(examples), AT_ONCE):
        if stopping():
            raise StoppedError(f"asked to stop after {start} of {len(examples)} pairs")
        some = examples[start : start + AT_ONCE]
        scores = graded.scores(folds.answers_of([example for _, example in some]))
        points = [
            fmean(line.uncut(score) for line, score in zip(first, row, strict=True))
            for row in zip(*scores, strict=True)
        ]
        for (place, _), high, low in zip(some, points[::2], points[1::2], strict=True):
            leads[place] = high - low
        reporter.report("sampled", note=f"{start + len(some)} of {len(examples)} pairs")
    return GradeResult(
        state="done", leads=tuple(leads.get(place) for place in range(len(job.pairs))), refused=refused
    )


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
