"""Rollouts: sampled answers with what policy, reference, critic and reward say of them."""

from dataclasses import dataclass
from statistics import fmean, pstdev

import torch

from policies.rewards import Reward
from policies.training.sampling.generate import SampledAnswer


@dataclass(frozen=True, slots=True)
class Episode:
    """One answer. Tensors have a number for each of its tokens and lie on the CPU.

    `behaviour` are the tokens' log-probabilities by the policy that sampled them, `reference` by the
    reference, `values` what the critic expected before each. `kl` is the full-distribution KL of policy
    against reference summed over the tokens, `entropy` the policy's, likewise, in nats.
    """

    question: int
    answer: SampledAnswer
    reward: Reward
    behaviour: torch.Tensor
    reference: torch.Tensor
    values: torch.Tensor
    kl: float
    entropy: float


@dataclass(frozen=True, slots=True)
class Collected:
    """The rollouts of a step, and what came to none: prompts refused, answers that nobody has a view of."""

    rollouts: list[Episode]
    refused: int
    unscored: int


def figures(collected: Collected) -> dict[str, float]:
    """What a step's rollouts look like. KL, entropy in nats; rewards in points.

    `reward_spread` is the mean over prompts of the standard deviation of their answers' rewards: where it
    falls to 0 there is nothing left to learn from, whatever the mean says. Not there where no prompt has two
    answers.
    """
    rollouts = collected.rollouts
    count, tokens = len(rollouts), sum(len(each.answer.tokens) for each in rollouts)
    groups: dict[int, list[float]] = {}
    for each in rollouts:
        groups.setdefault(each.question, []).append(each.reward.value)
    rewards = [each.reward.value for each in rollouts]
    kl = sum(each.kl for each in rollouts)
    several = [pstdev(group) for group in groups.values() if len(group) > 1]
    return ({"reward_spread": fmean(several)} if several else {}) | {
        "reward": fmean(rewards),
        "reward_sd": pstdev(rewards),
        "ceiling_share": sum(each.reward.capped for each in rollouts) / count,
        "truncated_share": sum(each.answer.truncated for each in rollouts) / count,
        "kl_sequence": kl / count,
        "kl_token": kl / tokens,
        "entropy": sum(each.entropy for each in rollouts) / tokens,
        "answer_tokens": tokens / count,
        "refused": collected.refused,
        "unscored": collected.unscored,
    }
