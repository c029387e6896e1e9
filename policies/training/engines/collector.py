"""Collecting rollouts: sampling from the policy, and passes of all roles over what it answered."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch

from policies.rewards import Reward
from policies.training.engines.critic import Critic
from policies.training.engines.passes import by_prompt
from policies.training.engines.rewarding import Rewarder
from policies.training.engines.roles import Roles
from policies.training.engines.rollouts import Collected, Episode
from policies.training.errors import JobError
from policies.training.model.lora import POLICY
from policies.training.model.rendering import Rendering
from policies.training.planning.resolved import ResolvedPpo
from policies.training.sampling.generate import SampledAnswer, SamplingSettings, sample
from policies.training.sampling.questions import Question, Refused


@dataclass(frozen=True, slots=True)
class Collector:
    """Samples and measures. Everything is a function of seed, step and the weights."""

    roles: Roles
    critic: Critic
    rendering: Rendering
    questions: Sequence[Question]
    rewarder: Rewarder
    recipe: ResolvedPpo
    seed: int
    between: Callable[[int, int], None] | None = None
    """Called with (done, total) after every batch that is sampled; what it raises ends the step."""

    def collect(self, step: int) -> Collected:
        """The rollouts of a step, counted from 1. Raises JobError where there is not one."""
        asked = chosen(len(self.questions), self.recipe.prompts, step, self.seed)
        settings = SamplingSettings(
            count=self.recipe.answers,
            max_new_tokens=self.recipe.max_new_tokens,
            seed=self.seed * 1_000_003 + step,
            batch_size=self.recipe.sampling_batch,
        )
        with self.roles.acting(POLICY) as model:
            found = sample(
                model,
                self.rendering,
                [self.questions[index] for index in asked],
                settings,
                between=self.between,
            )
        answers = [
            (index, answer)
            for index, row in zip(asked, found, strict=True)
            if not isinstance(row, Refused)
            for answer in row
        ]
        rewards = self.rewarder.rewards([answer for _, answer in answers])
        scored = [
            (*each, reward) for each, reward in zip(answers, rewards, strict=True) if reward is not None
        ]
        if not scored:
            raise JobError(
                f"step {step}: none of {len(answers)} answers to {len(asked)} prompts has a reward"
            )
        rollouts = self._measured(scored)
        return Collected(
            rollouts=self._levelled(rollouts) if step == 1 else rollouts,
            refused=sum(isinstance(row, Refused) for row in found),
            unscored=len(answers) - len(scored),
        )

    def _levelled(self, rollouts: list[Episode]) -> list[Episode]:
        """Lets a critic that has seen no answer of this run expect their mean reward on the whole."""
        rewards = fmean(each.reward.value for each in rollouts)
        values = torch.cat([each.values for each in rollouts])
        lift = rewards - values.mean().item()
        if not math.isfinite(lift):
            return rollouts
        self.critic.lift(lift)
        return [replace(each, values=each.values + lift) for each in rollouts]

    @torch.no_grad()
    def _measured(self, scored: Sequence[tuple[int, SampledAnswer, Reward]]) -> list[Episode]:
        """Passes of policy, reference and critic over the answers, in batches of like length."""
        order = by_prompt([answer for _, answer, _ in scored])
        found: dict[int, Episode] = {}
        for start in range(0, len(order), self.recipe.microbatch):
            batch = [scored[place] for place in order[start : start + self.recipe.microbatch]]
            answers = [answer for _, answer, _ in batch]
            with self.roles.acting(POLICY):
                ours = self.roles.passes.distributions(answers)
            with self.roles.acting(self.roles.reference):
                theirs = self.roles.passes.distributions(answers)
            said, values = ours.numbers(_said, theirs).cpu(), self.critic.values(answers).cpu()
            for row, (question, answer, reward) in enumerate(batch):
                own = said[row, -len(answer.tokens) :]
                found[order[start + row]] = Episode(
                    question=question,
                    answer=answer,
                    reward=reward,
                    behaviour=own[:, 0],
                    reference=own[:, 1],
                    values=values[row, -len(answer.tokens) :],
                    kl=own[:, 2].sum().item(),
                    entropy=own[:, 3].sum().item(),
                )
        return [found[place] for place in range(len(scored))]


def _said(tokens: torch.Tensor, logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Log-probabilities by policy and reference, the KL between their distributions, the policy's entropy."""
    ours, theirs = logits.log_softmax(dim=-1), reference.log_softmax(dim=-1)
    sure = ours.exp()
    kl, entropy = (sure * (ours - theirs)).sum(dim=-1), -(sure * ours).sum(dim=-1)
    taken = [each.gather(-1, tokens[..., None]).squeeze(-1) for each in (ours, theirs)]
    return torch.stack([*taken, kl, entropy], dim=-1)


def chosen(questions: int, wanted: int, step: int, seed: int) -> list[int]:
    """Which questions a step asks: each once a pass, in an order of the pass's own, never one twice a step.

    Where a pass does not divide into steps its last questions wait for another pass.
    """
    size = min(wanted, questions)
    passes, place = divmod(step - 1, questions // size)
    order = random.Random(f"questions-{seed}-{passes}").sample(range(questions), questions)
    return order[place * size : (place + 1) * size]
