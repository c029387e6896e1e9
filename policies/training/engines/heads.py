"""Scalar heads: a float32 line on the last hidden state of the one base under an adapter.

A head lies in its adapter's directory, in a file of its own. Trainers that keep only what PEFT knows have
lost heads in silence, and a head that was made anew gives every answer a number as well: whoever saves one
reads it back.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from policies.training.errors import JobError
from policies.training.jobs import AdapterFile
from policies.training.model.lora import describe
from policies.training.sampling.generate import Answer, accepted, left_padded, positions

HEAD = "head.safetensors"

Sequences = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Prompts with the answers to them, as tokens."""


def width_of(model: Any) -> int:
    """Numbers in a hidden state."""
    return int(model.config.get_text_config().hidden_size)


def fresh(width: int, seed: int, device: torch.device) -> torch.nn.Linear:
    """A head whose weights are normal with variance 1 / (width + 1), so that first scores are near 1 in size
    (Stiennon et al. 2020, arXiv:2009.01325). A function of the seed alone.
    """
    head = torch.nn.Linear(width, 1)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.copy_(torch.randn(1, width, generator=generator) / math.sqrt(width + 1))
        head.bias.zero_()
    return head.to(device)


def constant(width: int, value: float, device: torch.device) -> torch.nn.Linear:
    """The head that says this of everything."""
    head = torch.nn.Linear(width, 1)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(value)
    return head.to(device)


def mapped(head: torch.nn.Linear, slope: float, intercept: float) -> torch.nn.Linear:
    """The head that says slope x score + intercept."""
    found = torch.nn.Linear(head.in_features, 1).to(head.weight.device)
    with torch.no_grad():
        found.weight.copy_(head.weight * slope)
        found.bias.copy_(head.bias * slope + intercept)
    return found


def save(head: torch.nn.Linear, directory: Path) -> AdapterFile:
    """Writes the head's file. Raises JobError where a weight is not finite."""
    weights = {name: value.detach().float().cpu().contiguous() for name, value in head.state_dict().items()}
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise JobError("the head has weights that are not finite")
    save_file(weights, str(directory / HEAD), metadata={"format": "pt"})
    return describe(directory / HEAD)


def load(directory: Path, width: int, device: torch.device) -> torch.nn.Linear:
    """Reads a head. Raises JobError where there is none that fits: never makes a new one in its place."""
    path = directory / HEAD
    head = torch.nn.Linear(width, 1)
    try:
        head.load_state_dict(load_file(str(path)))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise JobError(f"{path}: no head of {width} weights: {' '.join(str(error).split())[:200]}") from None
    return head.to(device)


def hidden(model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """The last hidden states under the active adapter, [rows, tokens, width], float32. No logits are made."""
    decoder = (model.get_base_model() if hasattr(model, "get_base_model") else model).get_decoder()
    extra = accepted(decoder, position_ids=positions(attention_mask))
    result = decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **extra)
    return result.last_hidden_state.float()


def values(model: Any, head: torch.nn.Linear, pad: int, answers: Sequence[Answer]) -> torch.Tensor:
    """What the head says before each token of the answers, [answers, longest answer], aligned on the right.

    It is the value of the state in which the token is chosen: of all that came before, without the token.
    """
    ids, mask = left_padded([a.prompt + a.tokens for a in answers], pad, head.weight.device)
    longest = max(len(answer.tokens) for answer in answers)
    return head(hidden(model, ids, mask)[:, -longest - 1 : -1]).squeeze(-1)


class Scorer(torch.nn.Module):
    """A model under its active adapter with a head: sequences to scores."""

    def __init__(self, model: Any, head: torch.nn.Linear) -> None:
        super().__init__()
        self.model = model
        self.head = head

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, last: torch.Tensor
    ) -> torch.Tensor:
        """Scores [rows] at each row's `last` position; rows are padded on the right."""
        states = hidden(self.model, input_ids, attention_mask)
        rows = torch.arange(len(last), device=states.device)
        return self.head(states[rows, last]).squeeze(-1)


@torch.no_grad()
def scores(scorer: Scorer, sequences: Sequences, pad: int, batch: int) -> list[float]:
    """The score of each answer at its last token, in the order given, taken in batches of like length."""
    device = scorer.head.weight.device
    order = sorted(range(len(sequences)), key=lambda index: sum(map(len, sequences[index])))
    found: dict[int, float] = {}
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        texts = [[*sequences[index][0], *sequences[index][1]] for index in chosen]
        ids = torch.full((len(texts), max(map(len, texts))), pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text)
            mask[row, : len(text)] = 1
        last = torch.tensor([len(text) - 1 for text in texts], device=device)
        made = scorer(ids.to(device), mask.to(device), last).tolist()
        found.update(zip(chosen, made, strict=True))
    return [found[index] for index in range(len(sequences))]
