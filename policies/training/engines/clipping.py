"""PPO's two clipped losses, from numbers that were computed elsewhere, as sums over tokens.

Sums, so that a batch may be taken in parts: whoever calls divides by the tokens of the whole. All tensors are
[answers, longest answer]; `mask` is 1 where there is a token.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class PolicySums:
    """`loss` carries the gradient. `approx_kl`: nats between the policy that sampled and this one."""

    loss: torch.Tensor
    clipped: torch.Tensor
    approx_kl: torch.Tensor


@dataclass(frozen=True, slots=True)
class ValueSums:
    """`loss` carries the gradient."""

    loss: torch.Tensor
    clipped: torch.Tensor


def policy_sums(
    logps: torch.Tensor, behaviour: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, clip: float
) -> PolicySums:
    """The negative clipped surrogate (Schulman et al. 2017, arXiv:1707.06347, eq. 7).

    `behaviour` are the log-probabilities of the tokens by the policy that sampled them, however long ago: the
    ratio makes the expectation over its samples that over this policy's. The KL is Schulman's estimate
    (r - 1) - log r, which is never negative.
    """
    drift = torch.where(mask > 0, logps - behaviour, 0.0)
    ratio = drift.exp()
    held = ratio.clamp(1 - clip, 1 + clip)
    loss = torch.maximum(-advantages * ratio, -advantages * held)
    with torch.no_grad():
        clipped = ((-advantages * held > -advantages * ratio) * mask).sum()
        approx_kl = ((ratio - 1 - drift) * mask).sum()
    return PolicySums((loss * mask).sum(), clipped, approx_kl)


def value_sums(
    values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor, clip: float
) -> ValueSums:
    """Half the squared error, the worse of the value's and of the value held within `clip` of the old one.

    Not in the paper but in its authors' code (Huang et al. 2024, arXiv:2403.17031).
    """
    held = old + (values - old).clamp(-clip, clip)
    plain, bounded = (values - returns).square(), (held - returns).square()
    loss = 0.5 * torch.maximum(plain, bounded)
    with torch.no_grad():
        clipped = ((bounded > plain) * mask).sum()
    return ValueSums((loss * mask).sum(), clipped)
