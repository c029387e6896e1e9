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
from policies.training.model.singles import Single
from policies.training.sampling.generate import accepted

MOST = 16
"""Sequences of a probe: both answers of eight pairs."""
TOKENS = 256
"""Tokens of an answer that are scored: the whole vocabulary's log-probabilities are held for each."""
NEIGHBOURS = 0.01
"""Share of the embedding's numbers that are moved to see what rounding does."""
PLACES = 4
"""Decimals of what is kept, in nats."""


@dataclass(frozen=True, slots=True)
class ProbeText:
    """A prompt with the beginning of an answer. `scored` are positions in `ids`, none of them the first."""

    ids: tuple[int, ...]
    scored: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProbeScores:
    """Log-probabilities of the scored tokens, and KL, each summed over a sequence, in nats."""

    policy: tuple[float, ...]
    reference: tuple[float, ...]
    kl: tuple[float, ...]

    @property
    def kl_sequence(self) -> float:
        """Mean KL of a sequence."""
        return sum(self.kl) / len(self.kl)

    @property
    def largest(self) -> float:
        """The largest difference of a sequence's log-probability."""
        return max(abs(ours - theirs) for ours, theirs in zip(self.policy, self.reference, strict=True))


def draw(examples: Sequence[Example], seed: int) -> tuple[ProbeText, ...]:
    """Both answers of a few pairs: the same ones for the same pairs and seed. Raises ValueError for none."""
    chosen = random.Random(f"probe-{seed}").sample(list(examples), min(MOST // 2, len(examples)))
    return _scored(
        [
            _sequence(example.prompt, answer, mask)
            for example in chosen
            for answer, mask in (
                (example.chosen, example.chosen_mask),
                (example.rejected, example.rejected_mask),
            )
        ]
    )


def draw_answers(examples: Sequence[Single], seed: int) -> tuple[ProbeText, ...]:
    """A few of the answers: the same ones for the same answers and seed. Raises ValueError for none."""
    drawn = random.Random(f"probe-{seed}").sample(list(examples), min(MOST, len(examples)))
    return _scored([_sequence(example.prompt, example.answer, example.mask) for example in drawn])


def _scored(drawn: Sequence[ProbeText]) -> tuple[ProbeText, ...]:
    scored = tuple(text for text in drawn if text.scored)
    if not scored:
        raise ValueError("no answer has a token to score")
    return scored


def _sequence(prompt: Sequence[int], answer: Sequence[int], mask: Sequence[int]) -> ProbeText:
    start = len(prompt)
    kept = mask[:TOKENS]
    scored = tuple(start + index for index, own in enumerate(kept) if own and start + index > 0)
    return ProbeText((*prompt, *answer[: len(kept)]), scored)


@torch.inference_mode()
def score(
    model: Any, texts: Sequence[ProbeText], *, policy: str | None, reference: str | None
) -> ProbeScores:
    """Scores every sequence under both adapters of the model (None: the base), and leaves it as it was."""
    training = model.training
    model.eval()
    rows = []
    for text in texts:
        with using(model, policy):
            own = _log_probabilities(model, text)
        other = own
        if policy != reference:
            with using(model, reference):
                other = _log_probabilities(model, text)
        rows.append(_compared(text, own, other))
    model.train(training)
    return ProbeScores(*(tuple(column) for column in zip(*rows, strict=True)))


@torch.inference_mode()
def jitter(model: Any, texts: Sequence[ProbeText], *, policy: str | None) -> ProbeScores:
    """The adapter against itself with roundings that fell another way.

    One in a hundred of the embedding's numbers is moved to its neighbour in the model's own precision. That
    changes less than any layer's own rounding does, and in half precision as much as any other nothing: all
    that follows is rounded anew.
    """
    training = model.training
    model.eval()
    rows = []
    for text in texts:
        with using(model, policy):
            plain = _log_probabilities(model, text)
            hook = model.get_input_embeddings().register_forward_hook(_neighbours)
            try:
                moved = _log_probabilities(model, text)
            finally:
                hook.remove()
        rows.append(_compared(text, moved, plain))
    model.train(training)
    return ProbeScores(*(tuple(column) for column in zip(*rows, strict=True)))


def _neighbours(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    del module, inputs
    generator = torch.Generator().manual_seed(0)
    chosen = (torch.rand(output.shape, generator=generator) < NEIGHBOURS).to(output.device)
    return torch.where(chosen, output.nextafter(torch.full_like(output, torch.inf)), output)


def _compared(text: ProbeText, own: torch.Tensor, other: torch.Tensor) -> tuple[float, float, float]:
    tokens = torch.tensor([text.ids[index] for index in text.scored], device=own.device)[:, None]
    ours, theirs = own.gather(1, tokens).sum().item(), other.gather(1, tokens).sum().item()
    return ours, theirs, (own.exp() * (own - other)).sum().item()


def _log_probabilities(model: Any, text: ProbeText) -> torch.Tensor:
    """Of the whole vocabulary where each scored token is said, [scored tokens, vocabulary], float32."""
    device = next(model.parameters()).device
    ids = torch.tensor([text.ids], device=device)
    first = text.scored[0]
    extra = accepted(model, logits_to_keep=len(text.ids) - first + 1)
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **extra).logits[0]
    offset = len(text.ids) - logits.shape[0]
    before = torch.tensor([index - 1 - offset for index in text.scored], device=device)
    return logits[before].float().log_softmax(dim=-1)


def describe(texts: Sequence[ProbeText], scores: ProbeScores, noise: ProbeScores | None = None) -> Probe:
    """The probe as it is kept with the adapter. `noise` is what rounding alone does, where that is seen."""
    told = [{"ids": list(each.ids), "scored": list(each.scored)} for each in texts]
    return Probe(
        tokens_sha256=digest(told),
        kl_sequence=round(scores.kl_sequence, PLACES),
        sequences=tuple(
            ProbeSequence(tokens=len(text.scored), parent=round(theirs, PLACES), adapter=round(ours, PLACES))
            for text, ours, theirs in zip(texts, scores.policy, scores.reference, strict=True)
        ),
        rounding_kl=round(max(noise.kl_sequence, 0.0), PLACES) if noise else 0.0,
        rounding_largest=round(noise.largest, PLACES) if noise else 0.0,
    )
