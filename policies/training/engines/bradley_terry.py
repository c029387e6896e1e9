"""The loss of a reward model, from scores that were computed elsewhere."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by

MOST_LOG_ODDS = 4.0
"""A margin asks for no more: a label of certainty has odds without end."""


@dataclass(frozen=True, slots=True)
class RewardTerms:
    """The loss of one batch, and what is worth logging of it. All scalars."""

    loss: torch.Tensor
    margin: torch.Tensor
    accuracy: torch.Tensor
    score: torch.Tensor
    """Mean over both answers of all pairs: what centring holds near 0."""


def bradley_terry(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    *,
    weight: torch.Tensor,
    soft: torch.Tensor,
    centring: float,
    margin: float,
) -> RewardTerms:
    """The weighted loss of a batch; scores, weights and labels have one number a pair.

    Chosen is better with probability sigmoid(chosen - rejected) (Bradley and Terry, Biometrika 39, 1952). A
    soft label s mixes the losses of both directions, s to 1 - s, each with its margin: `margin` times the
    label's log odds. `centring` weighs the squared sum of a pair's scores. With labels and weights of 1 it is
    the loss of TRL's RewardTrainer.
    """
    lead = chosen - rejected
    ahead = margin * torch.logit(soft, eps=1e-6).clamp(max=MOST_LOG_ODDS)
    preference = -soft * F.logsigmoid(lead - ahead) - (1 - soft) * F.logsigmoid(-lead - ahead)
    loss = (weight * (preference + centring * (chosen + rejected).square())).mean()
    return RewardTerms(
        loss=loss,
        margin=lead.detach().mean(),
        accuracy=(lead.detach() > 0).float().mean(),
        score=(chosen + rejected).detach().mean() / 2,
    )
