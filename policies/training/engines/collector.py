"""Collecting rollouts: sampling from the policy, and passes of all roles over what it answered."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from policies.recipes import PpoRecipe
from policies.rewards import Reward
from policies.training.engines.critic import Critic
from policies.training.engines.rewarding import Rewarder
from policies.training.engines.roles import Roles
from policies.training.engines.rollouts import Collected, Rollout, length_of
from policies.training.errors import JobError
from policies.training.model.lora import POLICY
from policies.training.model.rendering import Rendering
from policies.training.sampling.distance import log_probabilities
from policies.training.sampling.generate import Answer, Settings, sample
from policies.training.sampling.questions import Question, Refused


@dataclass(frozen=True, slots=True)
class Collector:
    """Samples and measures. Everything is a function of seed, step and the weights."""

    roles: Roles
    critic: Critic
    rendering: Rendering
    questions: Sequence[Question]
    rewarder: Rewarder
    recipe: PpoRecipe
    seed: int

    def collect(self, step: int) -> Collected:
        """The rollouts of a step, counted from 1. Raises JobError where there is not one."""
        asked = chosen(len(self.questions), self.recipe.prompts, step, self.seed)
        settings = Settings(
            count=self.recipe.answers,
            max_new_tokens=self.recipe.max_new_tokens,
            seed=self.seed * 1_000_003 + step,
            batch_size=self.recipe.sampling_batch,
        )
        with self.roles.acting(POLICY) as model:
            found = sample(model, self.rendering, [self.questions[index] for index in asked], settings)
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
        mean = fmean(reward.value for *_, reward in scored)
        if step == 1 and math.isfinite(mean):
            self.critic.expect(mean)
        return Collected(
            rollouts=self._measured(scored),
            refused=sum(isinstance(row, Refused) for row in found),
            unscored=len(answers) - len(scored),
        )

    @torch.no_grad()
    def _measured(self, scored: Sequence[tuple[int, Answer, Reward]]) -> list[Rollout]:
        """Passes of policy, reference and critic over the answers, in batches of like length."""
        order = sorted(range(len(scored)), key=lambda place: length_of(scored[place][1]))
        found: dict[int, Rollout] = {}
        for start in range(0, len(order), self.recipe.microbatch):
            batch = order[start : start + self.recipe.microbatch]
            answers = [scored[place][1] for place in batch]
            with self.roles.acting(POLICY) as model:
                ours = log_probabilities(model, self.roles.pad, answers)
            with self.roles.acting(self.roles.reference) as model:
                theirs = log_probabilities(model, self.roles.pad, answers)
            values = self.critic.values(answers).cpu()
            for row, place in enumerate(batch):
                question, answer, reward = scored[place]
                length = len(answer.tokens)
                policy, reference = ours[row, -length:], theirs[row, -length:]
                taken = torch.tensor(answer.tokens, device=policy.device)[:, None]
                probabilities = policy.exp()
                found[place] = Rollout(
                    question=question,
                    answer=answer,
                    reward=reward,
                    behaviour=policy.gather(1, taken).squeeze(1).cpu(),
                    reference=reference.gather(1, taken).squeeze(1).cpu(),
                    values=values[row, -length:],
                    kl=(probabilities * (policy - reference)).sum().item(),
                    entropy=-(probabilities * policy).sum().item(),
                )
        return [found[place] for place in range(len(scored))]


def chosen(questions: int, wanted: int, step: int, seed: int) -> list[int]:
    """Which questions a step asks: each once a pass, in an order of the pass's own, never one twice a step.

    Where a pass does not divide into steps its last questions wait for another pass.
    """
    size = min(wanted, questions)
    passes, place = divmod(step - 1, questions // size)
    order = random.Random(f"questions-{seed}-{passes}").sample(range(questions), questions)
    return order[place * size : (place + 1) * size]
