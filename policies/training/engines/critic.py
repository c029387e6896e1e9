"""The critic: an adapter and a head that say what an answer will be worth, before each of its tokens."""

import math
from collections.abc import Iterator, Sequence

import torch

from policies.training.engines import heads
from policies.training.engines.clipping import value_sums
from policies.training.engines.descent import Descent
from policies.training.engines.experience import Experience, Minibatch
from policies.training.engines.reward_model import RewardModel, role_of
from policies.training.engines.roles import CRITIC, Roles
from policies.training.model.lora import POLICY
from policies.training.planning.resolved import ResolvedPpo
from policies.training.sampling.generate import SampledAnswer


class Critic:
    """Begins as the reward model's first fold, on its calibrated scale; without one, as a constant. Its level
    is then that of the first answers' rewards. A reward model's score is a mean over an answer's tokens, so
    what it says at each of them is a view of it as good as any.

    A critic that already knows what a good answer is begins with a lower loss and ends with a better policy
    (hiyouga/LLaMA-Factory#1563).
    """

    def __init__(
        self, roles: Roles, recipe: ResolvedPpo, seed: int, model: RewardModel | None = None
    ) -> None:
        self._roles = roles
        self._recipe = recipe
        if model is None:
            roles.add(CRITIC, like=POLICY, seed=seed, trained=True)
            self.head = heads.constant(heads.width_of(roles.model), roles.device)
        else:
            roles.copy(role_of(0), CRITIC, trained=True)
            line = model.calibrations[0]
            self.head = heads.mapped(model.heads[0], line.slope, line.intercept)
        head = {f"{CRITIC}.head.{name}": value for name, value in self.head.named_parameters()}
        self.descent = Descent(
            roles.weights(CRITIC) | head,
            learning_rate=recipe.learning_rate * recipe.critic_learning_rate_factor,
            max_norm=recipe.max_grad_norm,
        )

    def lift(self, points: float) -> None:
        """Lets it expect so many points more of everything."""
        with torch.no_grad():
            self.head.bias.add_(points)

    def values(self, answers: Sequence[SampledAnswer]) -> torch.Tensor:
        """Points expected before each token, [answers, longest answer], aligned on the right."""
        with self._roles.acting(CRITIC):
            return heads.values(self._roles.passes, self.head, answers)

    def improve(self, learned: Experience, key: int) -> dict[str, float]:
        """Passes over a step's experience. They end at once where a number is not finite: figures hold it.

        Figures are means over all tokens seen: `value_loss` in squared points, `value_clip_share`; and
        `explained`, the share of the returns' variance that the old values already told.
        """
        loss, clipped, tokens, norm = 0.0, 0.0, 0, 0.0
        for batch in self._batches(learned, key):
            total = 0.0
            for part in batch.parts:
                values = self.values(part.answers)
                made = value_sums(values, part.values, part.returns, part.mask, self._recipe.value_clip)
                (made.loss / batch.tokens).backward()
                total += made.loss.item()
                clipped += made.clipped.item()
            loss, tokens = loss + total, tokens + batch.tokens
            norm = self.descent.step(total)
            if not math.isfinite(total + norm):
                break
        return {
            "value_loss": loss / tokens,
            "value_clip_share": clipped / tokens,
            "value_grad_norm": norm,
            "explained": explained(learned),
        }

    def _batches(self, learned: Experience, key: int) -> Iterator[Minibatch]:
        for number in range(self._recipe.critic_epochs):
            yield from learned.minibatches(self._recipe.minibatch, self._recipe.microbatch, key + number)


def explained(learned: Experience) -> float:
    """The share of the returns' variance that values told: 0 for a constant, below it for what is worse."""
    there = learned.mask > 0
    returns, values = learned.returns[there], learned.values[there]
    spread = returns.var(correction=0).item()
    return 1 - (returns - values).var(correction=0).item() / spread if spread else 0.0
