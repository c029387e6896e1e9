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

from policies.training.engines.passes import Passes, by_prompt, decoder_of
from policies.training.errors import JobError
from policies.training.jobs import AdapterFile
from policies.training.model.lora import describe
from policies.training.sampling.generate import SampledAnswer

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


def constant(width: int, device: torch.device) -> torch.nn.Linear:
    """The head that says 0 of everything."""
    head = torch.nn.Linear(width, 1)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
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


def values(passes: Passes, head: torch.nn.Linear, answers: Sequence[SampledAnswer]) -> torch.Tensor:
    """What the head says before each token of the answers, [answers, longest answer], aligned on the right.

    It is the value of the state in which the token is chosen: of all that came before, without the token.
    """
    return passes.states(answers).numbers(lambda _tokens, states: head(states)).squeeze(-1)


class Scorer(torch.nn.Module):
    """A model under its active adapter with a head: sequences to scores.

    An answer's score is the mean of what the head says of the states at its tokens. The state at its last
    token alone is that of an end where there is one, and of some word in the middle of a sentence where an
    answer was cut off: a head on it learns to tell the two apart before anything of what answers say.
    """

    def __init__(self, model: Any, head: torch.nn.Linear) -> None:
        super().__init__()
        self.model = model
        self.head = head

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, answer: torch.Tensor
    ) -> torch.Tensor:
        """Scores [rows]. `answer` [rows, tokens] is 1 at the tokens of the answers; rows are padded on the
        right.
        """
        decoder = decoder_of(self.model)
        states = decoder(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        with torch.autocast(states.device.type, enabled=False):  # a trainer's would score in half precision
            said = self.head(states.float()).squeeze(-1)
            return torch.where(answer > 0, said, 0.0).sum(dim=1) / answer.sum(dim=1)


@torch.no_grad()
def scores(passes: Passes, head: torch.nn.Linear, sequences: Sequences, batch: int) -> list[float]:
    """The score of each answer, in the order given: the mean of what the head says at each of its tokens.

    What it says at a token is the value before the next one, so a further token is put behind each answer.
    """
    answers = [
        SampledAnswer(tuple(prompt), (*tokens, passes.pad), truncated=False) for prompt, tokens in sequences
    ]
    order = by_prompt(answers)
    found: dict[int, float] = {}
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        said = values(passes, head, [answers[place] for place in places])
        for place, row in zip(places, said, strict=True):
            found[place] = row[1 - len(answers[place].tokens) :].mean().item()
    return [found[place] for place in range(len(sequences))]
