"""Sampling answers, deterministic given a seed, and the same whatever the batch an answer is sampled in.

Every answer draws its own stream of uniform numbers from (seed, prompt, sample number) and turns them into
tokens by the inverse of the cumulative distribution. The distribution is the model's whole one at the given
temperature: nothing is cut off by top-k or top-p, as KL and entropy of the answers are measured against it.

One prompt never decides over others: a batch on which the model fails is halved until the culprit is alone.
Too little memory is nobody's fault as long as a smaller batch may fit: this and all further ones are halved.
"""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from policies.training.errors import JobError
from policies.training.model.rendering import Rendering
from policies.training.sampling.questions import Question, Refused, positions_of


@dataclass(frozen=True, slots=True)
class SampledAnswer:
    """A sampled answer. `tokens` holds its end-of-turn token, unless it was cut at the most new tokens."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How answers are sampled."""

    count: int = 1
    temperature: float = 1.0
    max_new_tokens: int = 256
    seed: int = 0
    batch_size: int = 32


def sample(
    model: Any,
    rendering: Rendering,
    questions: Sequence[Question | Refused],
    settings: SamplingSettings,
    *,
    between: Callable[[int, int], None] | None = None,
) -> list[list[SampledAnswer] | Refused]:
    """`count` answers to each question, in their order; the reason where there are none.

    `between(done, total)` is called after every batch; what it raises ends the sampling. The model must be in
    evaluation mode and is left as it was. Raises JobError where the model answers none of several questions:
    then it is not the questions; and where not one answer fits the memory, however few questions there are.
    """
    asked = [(index, each.ids) for index, each in enumerate(questions) if isinstance(each, Question)]
    rows = [_Row(index, number, ids) for index, ids in asked for number in range(settings.count)]
    rows.sort(key=lambda row: len(row.ids))
    out = _Outcomes()
    _work_off(
        rows, settings.batch_size, lambda some: _answers(model, rendering, some, settings), out, between
    )
    if len(out.failed) > 1 and len(out.failed) == len(asked):
        raise JobError(f"the model answers none of {len(asked)} prompts: {next(iter(out.failed.values()))}")

    def row(index: int, question: Question | Refused) -> list[SampledAnswer] | Refused:
        if isinstance(question, Refused):
            return question
        if index in out.failed:
            return Refused(out.failed[index])
        return [out.answers[index, number] for number in range(settings.count)]

    return [row(index, question) for index, question in enumerate(questions)]


@dataclass(frozen=True, slots=True)
class _Row:
    """One answer to be sampled: of which question, which sample, and the prompt's tokens."""

    index: int
    number: int
    ids: tuple[int, ...]


_Answering = Callable[[Sequence[_Row]], list[SampledAnswer]]


@dataclass(slots=True)
class _Outcomes:
    """What became of the rows: answers by question and sample, and the questions that failed."""

    answers: dict[tuple[int, int], SampledAnswer] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)


def _work_off(
    rows: Sequence[_Row],
    size: int,
    answer: _Answering,
    out: _Outcomes,
    between: Callable[[int, int], None] | None,
) -> None:
    """Samples all rows, at most `size` at a time, and fewer from where the memory did not suffice.

    A row that does not fit alone is tried again when the others are done: another process may have had the
    memory. Raises JobError where none fits.
    """
    start, large = 0, list[_Row]()
    while start < len(rows):
        batch = rows[start : start + size]
        if not _attempt(batch, answer, out):
            torch.cuda.empty_cache()
            if len(batch) > 1:
                size = len(batch) // 2
                continue
            large += batch
        start += len(batch)
        if between is not None:
            between(start, len(rows))
    for row in large:
        if _attempt([row], answer, out):
            continue
        torch.cuda.empty_cache()
        if not out.answers:
            raise JobError(f"out of memory with one answer at a time, to a prompt of {len(row.ids)} tokens: "
                           "free the device's memory, or lower policy.sampling.max_new_tokens")  # fmt: skip
        out.failed[row.index] = (
            f"the prompt has {len(row.ids)} tokens, and the memory does not suffice for its answer alone"
        )


def _attempt(batch: Sequence[_Row], answer: _Answering, out: _Outcomes) -> bool:
    """Samples the batch, by halves where it fails as a whole; a row that fails alone fails its question.
    False: there is too little memory for so many, and that is no row's fault.
    """
    batch = [row for row in batch if row.index not in out.failed]
    if not batch:
        return True
    try:
        answers = answer(batch)
    except torch.OutOfMemoryError:
        return False
    except Exception as error:  # noqa: BLE001 - models raise whatever they like on what they cannot take
        if len(batch) == 1:
            out.failed[batch[0].index] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            return True
    else:
        out.answers.update({(row.index, row.number): each for row, each in zip(batch, answers, strict=True)})
        return True
    # Only out here is the error gone, and with it what holds the failed attempt's tensors.
    torch.cuda.empty_cache()
    half = len(batch) // 2
    return all(_attempt(part, answer, out) for part in (batch[:half], batch[half:]))


def _answers(
    model: Any, rendering: Rendering, batch: Sequence[_Row], settings: SamplingSettings
) -> list[SampledAnswer]:
    positions = positions_of(model.config, rendering.tokenizer)
    room = [settings.max_new_tokens if positions is None else positions - len(row.ids) for row in batch]
    limits = [min(settings.max_new_tokens, each) for each in room]
    uniforms = torch.stack(
        [_uniforms(settings.seed, row.ids, row.number, settings.max_new_tokens) for row in batch]
    )
    made = generate(
        model,
        rendering,
        [row.ids for row in batch],
        uniforms[:, : max(limits)],
        limits=limits,
        temperature=settings.temperature,
    )
    return [
        SampledAnswer(row.ids, new.tokens, truncated=new.truncated)
        for row, new in zip(batch, made, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Generated:
    """New tokens of one sequence."""

    tokens: tuple[int, ...]
    truncated: bool


@torch.inference_mode()
def generate(
    model: Any,
    rendering: Rendering,
    prompts: Sequence[Sequence[int]],
    uniforms: torch.Tensor,
    *,
    limits: Sequence[int],
    temperature: float,
) -> list[Generated]:
    """Goes on from each prompt until an end token, or until it has as many new tokens as its limit.

    `uniforms` is [sequences, most new tokens]. Prompts are padded on the left, so that all new tokens lie in
    one column. Finished sequences leave the batch where the cache allows it.
    """
    device = next(model.parameters()).device
    ids, mask = left_padded(prompts, rendering.pad, device)
    ends = torch.tensor(sorted(rendering.ends), device=device)
    uniforms = uniforms.to(device)
    alive = list(range(len(prompts)))
    out: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    finished = [False] * len(prompts)
    cache: Any = None
    for step in range(uniforms.shape[1]):
        extra = accepted(model, position_ids=positions(mask)[:, -ids.shape[1] :], logits_to_keep=1)
        result = model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **extra)
        cache = result.past_key_values
        chosen = _draw(result.logits[:, -1].float() / temperature, uniforms[alive, step])
        stops = torch.isin(chosen, ends).tolist()
        for sequence, token, stop in zip(alive, chosen.tolist(), stops, strict=True):
            if not finished[sequence]:
                out[sequence].append(token)
                ended[sequence] = stop
                finished[sequence] = stop or len(out[sequence]) >= limits[sequence]
        if all(finished):
            break
        ids = chosen[:, None]
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        keep = [row for row, sequence in enumerate(alive) if not finished[sequence]]
        if len(keep) <= len(alive) // 2 and type(cache) is DynamicCache:
            kept = torch.tensor(keep, device=device)
            cache.batch_select_indices(kept)
            ids, mask = ids[kept], mask[kept]
            alive = [alive[row] for row in keep]
    return [Generated(tuple(new), truncated=not end) for new, end in zip(out, ended, strict=True)]


def left_padded(
    sequences: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, both [sequences, longest]."""
    width = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(sequences), width), pad, dtype=torch.long)
    mask = torch.zeros((len(sequences), width), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, width - len(sequence) :] = torch.tensor(sequence, dtype=torch.long)
        mask[row, width - len(sequence) :] = 1
    return ids.to(device), mask.to(device)


def positions(mask: torch.Tensor) -> torch.Tensor:
    """Position ids under left padding: the first real token is at 0."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def accepted(model: Any, **arguments: Any) -> dict[str, Any]:
    """Those arguments that the model's forward takes.

    The class is asked: trainers replace the instance's own method by a wrapper that takes anything.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    known = inspect.signature(type(base).forward).parameters
    return {name: value for name, value in arguments.items() if name in known}


def _draw(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The token whose stretch of the cumulative distribution holds the uniform number. [rows]"""
    cumulative = logits.softmax(dim=-1).double().cumsum(dim=-1)
    drawn = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
    return drawn.squeeze(1).clamp(max=logits.shape[-1] - 1)


def _uniforms(seed: int, prompt: Sequence[int], number: int, width: int) -> torch.Tensor:
    """The answer's own numbers in [0, 1), from nothing but seed, prompt and sample number."""
    key = hashlib.sha256(f"{seed}:{number}:{','.join(map(str, prompt))}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "big") >> 1)
    return torch.rand(width, dtype=torch.float64, generator=generator)
