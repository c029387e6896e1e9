"""How much better each token did than was expected of it.

Tensors are [answers, longest answer] with every answer's last token in the last column; `mask` is 1 where
there is a token and 0 before an answer begins.
"""

import torch

EPSILON = 1e-8


def token_rewards(
    scores: torch.Tensor,
    behaviour: torch.Tensor,
    reference: torch.Tensor,
    mask: torch.Tensor,
    coefficient: float,
) -> torch.Tensor:
    """The score [answers] at the last token, and at every token the penalty on the drift from the reference.

    The penalty is the log-ratio of the token drawn (Ziegler et al. 2019, arXiv:1909.08593, eq. 2), not the KL
    of the two distributions: that depends on what came before the token and not on the token, so that as a
    reward it would leave out the token's own part of the gradient.
    """
    rewards = -coefficient * (behaviour - reference) * mask
    rewards[:, -1] += scores
    return rewards


def gae(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, *, gamma: float, lam: float
) -> torch.Tensor:
    """Generalised advantage estimates (Schulman et al. 2015, arXiv:1506.02438, eq. 16).

    With d_t = r_t + gamma V_(t+1) - V_t and V = 0 behind the last token, A_t = d_t + gamma lam A_(t+1).
    """
    advantages = torch.zeros_like(rewards)
    after, value_after = torch.zeros_like(rewards[:, 0]), torch.zeros_like(rewards[:, 0])
    for column in range(rewards.shape[1] - 1, -1, -1):
        value = values[:, column]
        after = rewards[:, column] + gamma * value_after - value + gamma * lam * after
        advantages[:, column], value_after = after, value
    return advantages * mask


def whiten(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Shifted and scaled to mean 0 and variance 1 over the tokens; 0 where there is none.

    Makes the learning rate mean the same whatever the rewards' scale (Huang et al. 2024, arXiv:2403.17031).
    Where all are alike nothing is left, and nothing is learned.
    """
    tokens = mask.sum().clamp(min=1)
    mean = (values * mask).sum() / tokens
    variance = ((values - mean).square() * mask).sum() / tokens
    return (values - mean) * torch.rsqrt(variance + EPSILON) * mask
