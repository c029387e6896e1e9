"""The losses, from log-probabilities that were computed elsewhere."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by


@dataclass(frozen=True, slots=True)
class LossTerms:
    """The loss of one batch, and what is worth logging of it. All scalars."""

    loss: torch.Tensor
    margin: torch.Tensor
    accuracy: torch.Tensor
    chosen_drift: torch.Tensor
    """Chosen log-probability minus the reference's, per sequence."""


def dpo_loss(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    ref_chosen: torch.Tensor,
    ref_rejected: torch.Tensor,
    *,
    chosen_tokens: torch.Tensor,
    weight: torch.Tensor,
    soft: torch.Tensor,
    beta: float,
    sft_weight: float,
) -> LossTerms:
    """The weighted loss; every tensor has one number a pair, log-probabilities are summed over the sequence.

    With weights and soft labels of 1 it is TRL's `["sigmoid", "sft"]` with weights `[1, sft_weight]`.
    A soft label s mixes the losses of the two directions, s to 1 - s.
    """
    drift = chosen - ref_chosen
    scaled = beta * (drift - (rejected - ref_rejected))
    preference = -soft * F.logsigmoid(scaled) - (1 - soft) * F.logsigmoid(-scaled)
    loss = (weight * preference).mean()
    if sft_weight:
        loss = loss + sft_weight * -(weight * chosen).sum() / chosen_tokens.sum().clamp(min=1)
    return LossTerms(
        loss=loss,
        margin=scaled.detach().mean(),
        accuracy=(scaled.detach() > 0).float().mean(),
        chosen_drift=drift.detach().mean(),
    )
