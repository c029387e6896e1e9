"""How far two policies are apart, and how sure each is of itself, on answers that were just sampled.

The KL of a sequence is the sum over its tokens of the KL between the two full next-token distributions: its
expectation is that of the usual log-ratio estimate, with much less variance (Rao-Blackwell), and it is never
negative. All in nats, at temperature 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from policies.training.model.lora import using
from policies.training.sampling.generate import SampledAnswer, accepted, left_padded, positions

LOGIT_BYTES = 256 << 20
"""Most that one batch's logits may take."""


@dataclass(frozen=True, slots=True)
class Distance:
    """Of one answer: nats over the whole sequence, and how many tokens it has."""

    kl: float
    entropy: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Means:
    """Over answers: KL per sequence and per token, entropy per token, tokens."""

    kl_sequence: float
    kl_token: float
    entropy: float
    tokens: int


def mean(distances: Sequence[Distance]) -> Means:
    """Means over answers; zeros where there are none."""
    tokens = sum(distance.tokens for distance in distances)
    kl = sum(distance.kl for distance in distances)
    entropy = sum(distance.entropy for distance in distances)
    return Means(kl / max(len(distances), 1), kl / max(tokens, 1), entropy / max(tokens, 1), tokens)


@torch.inference_mode()
def distances(
    model: Any,
    pad: int,
    answers: Sequence[SampledAnswer],
    *,
    policy: str | None,
    reference: str | None,
    between: Callable[[int, int], None] | None = None,
) -> list[Distance]:
    """KL of `policy` against `reference` and entropy of `policy`, per answer and in their order.

    Both name adapters on the one model (None: the base). Where they are the same only the entropy is
    computed. Answers that do not fit the memory together are read in smaller batches.
    """
    order = sorted(
        range(len(answers)), key=lambda index: len(answers[index].prompt) + len(answers[index].tokens)
    )
    found: dict[int, Distance] = {}
    start, most = 0, len(order)
    while start < len(order):
        batch = _batch(order[start : start + most], answers, vocabulary(model))
        try:
            measured = _measured(model, pad, [answers[index] for index in batch], policy, reference)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            most, measured = len(batch) // 2, []
        if not measured:
            torch.cuda.empty_cache()
            continue
        found.update(zip(batch, measured, strict=True))
        start += len(batch)
        if between is not None:
            between(start, len(order))
    return [found[index] for index in range(len(answers))]


def _measured(
    model: Any, pad: int, answers: Sequence[SampledAnswer], policy: str | None, reference: str | None
) -> list[Distance]:
    """The distances of answers that are read at once."""
    with using(model, policy):
        own = log_probabilities(model, pad, answers)
    if policy == reference:
        theirs = own
    else:
        with using(model, reference):
            theirs = log_probabilities(model, pad, answers)
    found: list[Distance] = []
    for row, answer in enumerate(answers):
        length = len(answer.tokens)
        ours, other = own[row, -length:], theirs[row, -length:]
        probabilities = ours.exp()
        kl = (probabilities * (ours - other)).sum().item()
        entropy = -(probabilities * ours).sum().item()
        found.append(Distance(kl, entropy, length))
    return found


def log_probabilities(model: Any, pad: int, answers: Sequence[SampledAnswer]) -> torch.Tensor:
    """Log-probabilities of the whole vocabulary at every answer token, [answers, longest answer, vocabulary].

    Rows are aligned on the right: the last column is each answer's last token.
    """
    device = next(model.parameters()).device
    ids, mask = left_padded([answer.prompt + answer.tokens for answer in answers], pad, device)
    longest = max(len(answer.tokens) for answer in answers)
    extra = accepted(model, position_ids=positions(mask), logits_to_keep=longest + 1)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False, **extra).logits
    return logits[:, -longest - 1 : -1].float().log_softmax(dim=-1)


def vocabulary(model: Any) -> int:
    """How wide the logits are: not every configuration says it, and some say less than there is."""
    head = model.get_output_embeddings()
    return int(model.config.get_text_config().vocab_size if head is None else head.weight.shape[0])


def _batch(order: Sequence[int], answers: Sequence[SampledAnswer], vocabulary: int) -> list[int]:
    """As many of the next answers as their logits may take memory; at least one."""
    batch: list[int] = []
    longest = 0
    for index in order:
        longest = max(longest, len(answers[index].tokens) + 1)
        if batch and (len(batch) + 1) * longest * vocabulary * 4 > LOGIT_BYTES:
            break
        batch.append(index)
    return batch
