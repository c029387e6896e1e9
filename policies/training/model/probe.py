"""A few of the snapshot's answers, scored token by token: what a policy is, in numbers that can be held.

The probe is drawn by seed and asked one sequence at a time, without padding, so that its numbers depend on
nothing but the weights: the same ones give the same numbers, before and after they were written to disk.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from policies.records import digest
from policies.training.jobs import Probe, ProbeSequence
from policies.training.model.dataset import Example
from policies.training.model.lora import using
from policies.training.sampling.generate import accepted

MOST = 16
"""Sequences of a probe: both answers of eight pairs."""
TOKENS = 256
"""Tokens of an answer that are scored: the whole vocabulary's log-probabilities are held for each."""
PLACES = 4
"""Decimals of what is kept, in nats."""


@dataclass(frozen=True, slots=True)
class ProbeText:
    """A prompt with the beginning of an answer. `scored` are positions in `ids`, none of them the first."""

    ids: tuple[int, ...]
    scored: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-probabilities of the scored tokens, and KL, each summed over a sequence, in nats."""

    policy: tuple[float, ...]
    reference: tuple[float, ...]
    kl: tuple[float, ...]


def draw(examples: Sequence[Example], seed: int) -> tuple[ProbeText, ...]:
    """Both answers of a few pairs: the same ones for the same pairs and seed. Raises ValueError for none."""
    chosen = random.Random(f"probe-{seed}").sample(list(examples), min(MOST // 2, len(examples)))
    drawn = [
        _sequence(example.prompt, answer, mask)
        for example in chosen
        for answer, mask in (
            (example.chosen, example.chosen_mask),
            (example.rejected, example.rejected_mask),
        )
    ]
    scored = tuple(sequence for sequence in drawn if sequence.scored)
    if not scored:
        raise ValueError("no answer has a token to score")
    return scored


def _sequence(prompt: Sequence[int], answer: Sequence[int], mask: Sequence[int]) -> ProbeText:
    start = len(prompt)
    kept = mask[:TOKENS]
    scored = tuple(start + index for index, own in enumerate(kept) if own and start + index > 0)
    return ProbeText((*prompt, *answer[: len(kept)]), scored)


@torch.inference_mode()
def score(model: Any, sequences: Sequence[ProbeText], *, policy: str | None, reference: str | None) -> Scores:
    """Scores every sequence under both adapters of the model (None: the base), and leaves it as it was."""
    training = model.training
    model.eval()
    ours: list[float] = []
    theirs: list[float] = []
    apart: list[float] = []
    for sequence in sequences:
        with using(model, policy):
            own = _log_probabilities(model, sequence)
        other = own
        if policy != reference:
            with using(model, reference):
                other = _log_probabilities(model, sequence)
        tokens = torch.tensor([sequence.ids[index] for index in sequence.scored], device=own.device)[:, None]
        ours.append(own.gather(1, tokens).sum().item())
        theirs.append(other.gather(1, tokens).sum().item())
        apart.append((own.exp() * (own - other)).sum().item())
    model.train(training)
    return Scores(tuple(ours), tuple(theirs), tuple(apart))


def _log_probabilities(model: Any, sequence: ProbeText) -> torch.Tensor:
    """Of the whole vocabulary where each scored token is said, [scored tokens, vocabulary], float32."""
    device = next(model.parameters()).device
    ids = torch.tensor([sequence.ids], device=device)
    first = sequence.scored[0]
    extra = accepted(model, logits_to_keep=len(sequence.ids) - first + 1)
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **extra).logits[0]
    offset = len(sequence.ids) - logits.shape[0]
    before = torch.tensor([index - 1 - offset for index in sequence.scored], device=device)
    return logits[before].float().log_softmax(dim=-1)


def describe(sequences: Sequence[ProbeText], scores: Scores) -> Probe:
    """The probe as it is kept with the adapter."""
    told = [{"ids": list(each.ids), "scored": list(each.scored)} for each in sequences]
    return Probe(
        tokens_sha256=digest(told),
        kl_sequence=round(sum(scores.kl) / len(scores.kl), PLACES),
        sequences=tuple(
            ProbeSequence(
                tokens=len(sequence.scored), parent=round(theirs, PLACES), adapter=round(ours, PLACES)
            )
            for sequence, ours, theirs in zip(sequences, scores.policy, scores.reference, strict=True)
        ),
    )
