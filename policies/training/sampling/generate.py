"""Sampling answers, deterministic given a seed, and the same whatever the batch an answer is sampled in.

Every answer draws its own stream of uniform numbers from (seed, prompt, sample number) and turns them into
tokens by the inverse of the cumulative distribution. The distribution is the model's whole one at the given
temperature: nothing is cut off by top-k or top-p, as KL and entropy of the answers are measured against it.
"""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from policies.records import Message, Sampled
from policies.training.jobs import Messages, Tools
from policies.training.model.dataset import question


@dataclass(frozen=True, slots=True)
class Answer:
    """A sampled answer. `tokens` holds its end-of-turn token, unless it was cut at the most new tokens."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    text: str
    truncated: bool

    @property
    def sampled(self) -> Sampled:
        """The answer as the other rooms know it."""
        message = Message(role="assistant", content=self.text)
        return Sampled(messages=(message,), truncated=self.truncated)


def sample(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Messages],
    *,
    count: int = 1,
    temperature: float = 1.0,
    max_new_tokens: int = 256,
    seed: int = 0,
    batch_size: int = 32,
    tools: Sequence[Tools] = (),
    between: Callable[[int, int], None] | None = None,
) -> list[list[Answer]]:
    """Answers, per prompt and in prompt order, `count` answers.

    `between(done, total)` is called after every batch; what it raises ends the sampling. The model must be in
    evaluation mode and is left as it was.
    """
    tokens = [
        question(tokenizer, messages, tools[index] if tools else ()) for index, messages in enumerate(prompts)
    ]
    rows = [(index, number) for index in range(len(prompts)) for number in range(count)]
    rows.sort(key=lambda row: len(tokens[row[0]]))
    answers: list[list[Answer | None]] = [[None] * count for _ in prompts]
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        ids = [tokens[index] for index, _ in batch]
        uniforms = torch.stack([_uniforms(seed, tokens[i], n, max_new_tokens) for i, n in batch])
        for (index, number), new in zip(
            batch, generate(model, tokenizer, ids, uniforms, temperature=temperature), strict=True
        ):
            text = tokenizer.decode(new.tokens, skip_special_tokens=True).strip()
            answers[index][number] = Answer(tuple(tokens[index]), new.tokens, text, new.truncated)
        if between is not None:
            between(start + len(batch), len(rows))
    return [[answer for answer in row if answer is not None] for row in answers]


@dataclass(frozen=True, slots=True)
class Generated:
    """New tokens of one sequence."""

    tokens: tuple[int, ...]
    truncated: bool


@torch.inference_mode()
def generate(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], uniforms: torch.Tensor, *, temperature: float
) -> list[Generated]:
    """Goes on from each prompt until an end token or the width of `uniforms` ([sequences, new tokens]).

    Prompts are padded on the left, so that all new tokens lie in one column. Finished sequences leave the
    batch where the cache allows it.
    """
    device = next(model.parameters()).device
    ids, mask = left_padded(prompts, tokenizer.pad_token_id, device)
    ends = torch.tensor(sorted(_end_tokens(model, tokenizer)), device=device)
    uniforms = uniforms.to(device)
    alive = list(range(len(prompts)))
    out: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    cache: Any = None
    for step in range(uniforms.shape[1]):
        extra = accepted(model, position_ids=positions(mask)[:, -ids.shape[1] :], logits_to_keep=1)
        result = model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **extra)
        cache = result.past_key_values
        chosen = _draw(result.logits[:, -1].float() / temperature, uniforms[alive, step])
        done = torch.isin(chosen, ends)
        for row, (token, finished) in enumerate(zip(chosen.tolist(), done.tolist(), strict=True)):
            if not ended[alive[row]]:
                out[alive[row]].append(token)
                ended[alive[row]] = finished
        if all(ended):
            break
        ids = chosen[:, None]
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        keep = [row for row, sequence in enumerate(alive) if not ended[sequence]]
        if len(keep) <= len(alive) // 2 and type(cache) is DynamicCache:
            chosen_rows = torch.tensor(keep, device=device)
            cache.batch_select_indices(chosen_rows)
            ids, mask = ids[chosen_rows], mask[chosen_rows]
            alive = [alive[row] for row in keep]
    return [Generated(tuple(new), not end) for new, end in zip(out, ended, strict=True)]


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


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Every token that ends a turn: the tokenizer's and those of the model's generation settings."""
    ends: set[int] = set()
    config = getattr(model, "generation_config", None)
    for value in (tokenizer.eos_token_id, getattr(config, "eos_token_id", None)):
        if isinstance(value, int):
            ends.add(value)
        elif value is not None:
            ends.update(value)
    return ends
