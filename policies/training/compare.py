"""The two jobs that answer prompts: sampling from one policy, and comparing two."""

import json
from collections.abc import Callable
from pathlib import Path

from policies.records import Message
from policies.training.errors import JobError, StoppedError
from policies.training.jobs import CompareJob, CompareResult, Messages, SampleJob, SampleResult
from policies.training.model import lora
from policies.training.progress import Reporter
from policies.training.sampling import distance
from policies.training.sampling.generate import Answer, sample

STABLE, CANDIDATE = "stable", "candidate"


def run_sample(job: SampleJob, reporter: Reporter, stopping: Callable[[], bool]) -> SampleResult:
    """Samples `count` answers to each prompt. Raises JobError."""
    prompts = read_prompts(job.prompts)
    base = lora.load(job.base_model, job.revision, job.device, job.bf16)
    model = base.model
    if job.adapter is not None:
        model = lora.with_adapters(base, {CANDIDATE: job.adapter}).merge_and_unload()
    reporter.report("ready", steps=len(prompts) * job.count)
    answers = sample(
        model,
        base.tokenizer,
        prompts,
        count=job.count,
        temperature=job.temperature,
        max_new_tokens=job.max_new_tokens,
        seed=job.seed,
        batch_size=job.batch_size,
        tools=job.tools,
        between=_between(reporter, stopping),
    )
    flat = [answer for row in answers for answer in row]
    return SampleResult(
        state="done",
        answers=tuple(tuple(answer.sampled for answer in row) for row in answers),
        tokens=sum(len(answer.tokens) for answer in flat),
    )


def run_compare(job: CompareJob, reporter: Reporter, stopping: Callable[[], bool]) -> CompareResult:
    """One answer of each policy to each prompt, with KL and entropies. Raises JobError."""
    prompts = read_prompts(job.prompts)
    base = lora.load(job.base_model, job.revision, job.device, job.bf16)
    adapters = {CANDIDATE: job.candidate} | ({STABLE: job.stable} if job.stable else {})
    model = lora.with_adapters(base, adapters)
    stable = STABLE if job.stable else None
    reporter.report("ready", steps=2 * len(prompts))
    between = _between(reporter, stopping)

    def answers_of(adapter: str | None, seed: int) -> list[Answer]:
        with lora.using(model, adapter):
            found = sample(
                model,
                base.tokenizer,
                prompts,
                temperature=job.temperature,
                max_new_tokens=job.max_new_tokens,
                seed=seed,
                batch_size=job.batch_size,
                tools=job.tools,
                between=between,
            )
        return [row[0] for row in found]

    # Seeds differ: with the same numbers both arms would share their luck, and equal answers decide nothing.
    theirs, ours = answers_of(stable, 2 * job.seed), answers_of(CANDIDATE, 2 * job.seed + 1)
    pad = base.tokenizer.pad_token_id
    apart = distance.distances(model, pad, ours, policy=CANDIDATE, reference=stable, between=between)
    alone = distance.distances(model, pad, theirs, policy=stable, reference=stable, between=between)
    candidate, reference = distance.mean(apart), distance.mean(alone)
    return CompareResult(
        state="done",
        stable=tuple(answer.sampled for answer in theirs),
        candidate=tuple(answer.sampled for answer in ours),
        kl_per_prompt=tuple(each.kl for each in apart),
        kl_sequence=candidate.kl_sequence,
        kl_token=candidate.kl_token,
        entropy_stable=reference.entropy,
        entropy_candidate=candidate.entropy,
        tokens_stable=reference.tokens,
        tokens_candidate=candidate.tokens,
        truncated_stable=sum(answer.truncated for answer in theirs),
        truncated_candidate=sum(answer.truncated for answer in ours),
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
