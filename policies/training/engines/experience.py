"""A step's rollouts as the tensors that policy and critic learn from, and in which order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from policies.recipes import PpoRecipe
from policies.training.engines.advantages import gae, token_rewards, whiten
from policies.training.engines.passes import by_prompt
from policies.training.engines.rollouts import Episode
from policies.training.sampling.generate import SampledAnswer


@dataclass(frozen=True, slots=True)
class Part:
    """Some answers of a minibatch, with their tensors [answers, longest of them], aligned on the right."""

    answers: list[SampledAnswer]
    tokens: torch.Tensor
    mask: torch.Tensor
    behaviour: torch.Tensor
    advantages: torch.Tensor
    values: torch.Tensor
    returns: torch.Tensor


@dataclass(frozen=True, slots=True)
class Minibatch:
    """What one optimiser step learns from, in parts that fit the memory."""

    parts: list[Part]
    tokens: int


@dataclass(frozen=True, slots=True)
class Experience:
    """All rollouts of a step: tensors [answers, longest answer], aligned on the right, on the device.

    Advantages are whitened over all of its tokens; returns are what values should have been.
    """

    answers: list[SampledAnswer]
    tokens: torch.Tensor
    mask: torch.Tensor
    behaviour: torch.Tensor
    advantages: torch.Tensor
    values: torch.Tensor
    returns: torch.Tensor

    def minibatches(self, size: int, part: int, key: int) -> Iterator[Minibatch]:
        """Every answer once, in an order of prompts that `key` alone decides; one prompt's are together.

        The losses are sums over tokens divided by the minibatch's tokens, so that parts change nothing but
        memory and padding.
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, answer in enumerate(self.answers):
            groups.setdefault(answer.prompt, []).append(row)
        generator = torch.Generator().manual_seed(key)
        shuffled = torch.randperm(len(groups), generator=generator).tolist()
        whole = list(groups.values())
        order = [row for place in shuffled for row in whole[place]]
        for start in range(0, len(order), size):
            some = order[start : start + size]
            rows = [some[place] for place in by_prompt([self.answers[row] for row in some])]
            yield Minibatch(
                parts=[self._part(rows[at : at + part]) for at in range(0, len(rows), part)],
                tokens=sum(len(self.answers[row].tokens) for row in rows),
            )

    def _part(self, rows: list[int]) -> Part:
        answers = [self.answers[row] for row in rows]
        longest = max(len(answer.tokens) for answer in answers)

        def cut(values: torch.Tensor) -> torch.Tensor:
            return values[rows, -longest:]

        return Part(
            answers=answers,
            tokens=cut(self.tokens),
            mask=cut(self.mask),
            behaviour=cut(self.behaviour),
            advantages=cut(self.advantages),
            values=cut(self.values),
            returns=cut(self.returns),
        )


def experience(
    rollouts: Sequence[Episode], recipe: PpoRecipe, coefficient: float, device: torch.device
) -> Experience:
    """The rollouts with their advantages, under a coefficient of KL in points per nat."""
    mask = aligned([torch.ones(len(each.answer.tokens)) for each in rollouts])
    behaviour = aligned([each.behaviour for each in rollouts])
    values = aligned([each.values for each in rollouts])
    rewards = token_rewards(
        torch.tensor([each.reward.value for each in rollouts]),
        behaviour,
        aligned([each.reference for each in rollouts]),
        mask,
        coefficient,
    )
    advantages = gae(rewards, values, mask, gamma=recipe.gamma, lam=recipe.lam)
    return Experience(
        answers=[each.answer for each in rollouts],
        tokens=aligned([torch.tensor(each.answer.tokens) for each in rollouts]).to(device),
        mask=mask.to(device),
        behaviour=behaviour.to(device),
        advantages=whiten(advantages, mask).to(device),
        values=values.to(device),
        returns=((advantages + values) * mask).to(device),
    )


def aligned(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """Rows of different lengths as one tensor, zeros on the left."""
    longest = max(len(row) for row in rows)
    return torch.stack([torch.nn.functional.pad(row, (longest - len(row), 0)) for row in rows])
