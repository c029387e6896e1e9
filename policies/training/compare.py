"""The two jobs that answer prompts: sampling from one policy, and comparing two."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from policies.records import Message, Sampled, Tokens
from policies.training.errors import JobError, StoppedError
from policies.training.jobs import CompareJob, CompareResult, Messages, SampleJob, SampleResult
from policies.training.model import lora, selftest
from policies.training.model.rendering import Rendering
from policies.training.model.responses import Responses
from policies.training.progress import Reporter
from policies.training.sampling import distance
from policies.training.sampling.generate import SampledAnswer, SamplingSettings, sample
from policies.training.sampling.questions import Question, Refused, positions_of, questions

STABLE, CANDIDATE = "stable", "candidate"


@dataclass(frozen=True, slots=True)
class _Prompted:
    """What both jobs ask with: the rendering, how answers are read, and the questions."""

    rendering: Rendering
    responses: Responses
    questions: list[Question | Refused]
    notes: tuple[str, ...]

    def sampled(self, answer: SampledAnswer, question: Question | Refused) -> Sampled:
        """The answer as the other rooms know it."""
        tools = question.tools if isinstance(question, Question) else ()
        message = self.responses.read(answer.prompt, answer.tokens, tools, truncated=answer.truncated)
        tokens = Tokens(ids=answer.tokens, rendering=self.rendering.digest)
        return Sampled(messages=(message,), truncated=answer.truncated, tokens=tokens)


def run_sample(job: SampleJob, reporter: Reporter, stopping: Callable[[], bool]) -> SampleResult:
    """Samples `count` answers to each prompt. Raises JobError."""
    prompts = read_prompts(job.prompts)
    base = lora.load(job.base_model, job.revision, job.device, job.bf16)
    asked = _asked(job, base, prompts)
    model = base.model
    if job.adapter is not None:
        model = lora.with_adapters(base, {CANDIDATE: job.adapter}).merge_and_unload()
    reporter.report("ready", steps=len(prompts) * job.count, note="; ".join(asked.notes))
    rows = sample(
        model,
        asked.rendering,
        asked.questions,
        _settings(job, job.seed, job.count),
        between=_between(reporter, stopping),
    )
    return SampleResult(
        state="done",
        answers=tuple(
            () if isinstance(row, Refused) else tuple(asked.sampled(answer, question) for answer in row)
            for row, question in zip(rows, asked.questions, strict=True)
        ),
        refused={index: row.reason for index, row in enumerate(rows) if isinstance(row, Refused)},
        tokens=sum(len(answer.tokens) for row in rows if not isinstance(row, Refused) for answer in row),
    )


def run_compare(job: CompareJob, reporter: Reporter, stopping: Callable[[], bool]) -> CompareResult:
    """One answer of each policy to each prompt, with KL and entropies. Raises JobError."""
    prompts = read_prompts(job.prompts)
    base = lora.load(job.base_model, job.revision, job.device, job.bf16)
    asked = _asked(job, base, prompts)
    adapters = {CANDIDATE: job.candidate} | ({STABLE: job.stable} if job.stable else {})
    model = lora.with_adapters(base, adapters)
    stable = STABLE if job.stable else None
    reporter.report("ready", steps=2 * len(prompts), note="; ".join(asked.notes))
    between = _between(reporter, stopping)

    def answers_of(
        adapter: str | None, seed: int, each: Sequence[Question | Refused]
    ) -> list[SampledAnswer | Refused]:
        with lora.using(model, adapter):
            rows = sample(model, asked.rendering, each, _settings(job, seed), between=between)
        return [row if isinstance(row, Refused) else row[0] for row in rows]

    # Seeds differ: with the same numbers both arms would share their luck, and equal answers decide nothing.
    theirs = answers_of(stable, 2 * job.seed, asked.questions)
    left = [
        answer if isinstance(answer, Refused) else question
        for answer, question in zip(theirs, asked.questions, strict=True)
    ]
    ours = answers_of(CANDIDATE, 2 * job.seed + 1, left)
    both = _Both(
        [
            (index, mine, other)
            for index, (mine, other) in enumerate(zip(ours, theirs, strict=True))
            if isinstance(mine, SampledAnswer) and isinstance(other, SampledAnswer)
        ]
    )
    pad = asked.rendering.pad
    apart = distance.distances(model, pad, both.ours, policy=CANDIDATE, reference=stable, between=between)
    alone = distance.distances(model, pad, both.theirs, policy=stable, reference=stable, between=between)
    refused = {index: row.reason for index, row in enumerate(ours) if isinstance(row, Refused)}
    return _compared(asked, both, apart, alone, refused)


@dataclass(frozen=True, slots=True)
class _Both:
    """The prompts that both policies answered: index, candidate's answer, stable's answer."""

    rows: list[tuple[int, SampledAnswer, SampledAnswer]]

    @property
    def ours(self) -> list[SampledAnswer]:
        return [mine for _, mine, _ in self.rows]

    @property
    def theirs(self) -> list[SampledAnswer]:
        return [other for _, _, other in self.rows]


def _compared(
    asked: _Prompted,
    both: _Both,
    apart: Sequence[distance.Distance],
    alone: Sequence[distance.Distance],
    refused: dict[int, str],
) -> CompareResult:
    candidate, reference = distance.mean(apart), distance.mean(alone)
    ours: list[Sampled | None] = [None] * len(asked.questions)
    theirs: list[Sampled | None] = [None] * len(asked.questions)
    for index, mine, other in both.rows:
        ours[index] = asked.sampled(mine, asked.questions[index])
        theirs[index] = asked.sampled(other, asked.questions[index])
    return CompareResult(
        state="done",
        stable=tuple(theirs),
        candidate=tuple(ours),
        refused=refused,
        kl_per_prompt=tuple(each.kl for each in apart),
        kl_sequence=candidate.kl_sequence,
        kl_token=candidate.kl_token,
        entropy_stable=reference.entropy,
        entropy_candidate=candidate.entropy,
        tokens_stable=reference.tokens,
        tokens_candidate=candidate.tokens,
        truncated_stable=sum(answer.truncated for answer in both.theirs),
        truncated_candidate=sum(answer.truncated for answer in both.ours),
    )


def _asked(job: SampleJob | CompareJob, base: lora.LoadedBase, prompts: Sequence[Messages]) -> _Prompted:
    """Raises JobError where the family cannot be asked rightly."""
    rendering = Rendering(base.tokenizer, generation=base.model.generation_config)
    responses = Responses(rendering)
    notes = selftest.require(rendering, responses, base.name)
    found = questions(rendering, prompts, job.tools, positions_of(base.model.config, base.tokenizer))
    return _Prompted(rendering, responses, found, notes)


def _settings(job: SampleJob | CompareJob, seed: int, count: int = 1) -> SamplingSettings:
    return SamplingSettings(
        count=count,
        temperature=job.temperature,
        max_new_tokens=job.max_new_tokens,
        seed=seed,
        batch_size=job.batch_size,
    )


def read_prompts(prompts: tuple[Messages, ...] | Path) -> list[Messages]:
    """The prompts themselves, or those of a JSONL file with one list of messages a line. Raises JobError."""
    if not isinstance(prompts, Path):
        return list(prompts)
    found: list[Messages] = []
    try:
        lines = prompts.read_bytes().splitlines()
    except OSError as error:
        raise JobError(f"{prompts}: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        try:
            found.append(tuple(Message.model_validate(message) for message in json.loads(line)))
        except (ValueError, TypeError) as error:
            raise JobError(f"{prompts}: line {number}: {' '.join(str(error).split())}") from None
    return found


def _between(reporter: Reporter, stopping: Callable[[], bool]) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        reporter.report("sampled", step=done, steps=total)
        if stopping():
            raise StoppedError(f"asked to stop after {done} of {total} answers")

    return tell
