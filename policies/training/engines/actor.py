"""The actor: the policy's adapter, moved along PPO's clipped surrogate."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from policies.training.engines.clipping import policy_sums
from policies.training.engines.descent import Descent
from policies.training.engines.experience import Experience, Minibatch
from policies.training.engines.roles import Roles
from policies.training.model.lora import POLICY
from policies.training.planning.resolved import ResolvedPpo


@dataclass(slots=True)
class _Tally:
    """Sums over tokens: of one minibatch, or of a step."""

    loss: float = 0.0
    clipped: float = 0.0
    approx_kl: float = 0.0
    tokens: int = 0

    def add(self, other: "_Tally") -> None:
        self.loss += other.loss
        self.clipped += other.clipped
        self.approx_kl += other.approx_kl
        self.tokens += other.tokens


class Actor:
    """The policy with its optimiser."""

    def __init__(self, roles: Roles, recipe: ResolvedPpo) -> None:
        self._roles = roles
        self._recipe = recipe
        self.descent = Descent(
            roles.weights(POLICY), learning_rate=recipe.learning_rate, max_norm=recipe.max_grad_norm
        )

    def improve(self, learned: Experience, part: float, key: int) -> dict[str, float]:
        """Passes over a step's experience with this part of the learning rate.

        They end where a minibatch finds the policy further than `approx_kl_limit` from the one that sampled:
        that minibatch is not learned from. They end at once where a number is not finite, and the figures
        then hold it. Figures are means over the tokens learned from; `updates` counts optimiser steps.
        """
        total, updates, norm, apart = _Tally(), 0, 0.0, 0.0
        for batch in self._batches(learned, key):
            seen = self._gradients(batch)
            apart = seen.approx_kl / batch.tokens
            if apart > self._recipe.approx_kl_limit:
                self.descent.clear()
                break
            total.add(seen)
            norm = self.descent.step(seen.loss, part)
            if not math.isfinite(seen.loss + norm):
                break
            updates += 1
        tokens = max(total.tokens, 1)
        return {
            "policy_loss": total.loss / tokens,
            "clip_share": total.clipped / tokens,
            "approx_kl": apart,
            "policy_grad_norm": norm,
            "updates": updates,
        }

    def _batches(self, learned: Experience, key: int) -> Iterator[Minibatch]:
        for number in range(self._recipe.inner_epochs):
            yield from learned.minibatches(self._recipe.minibatch, self._recipe.microbatch, key + number)

    def _gradients(self, batch: Minibatch) -> _Tally:
        """Adds the minibatch's gradient to the weights', part by part."""
        tally = _Tally(tokens=batch.tokens)
        bonus = self._recipe.entropy_coefficient
        with self._roles.acting(POLICY):
            for part in batch.parts:
                said = self._roles.passes.distributions(part.answers).numbers(_said if bonus else _taken)
                made = policy_sums(
                    said[..., 0], part.behaviour, part.advantages, part.mask, self._recipe.clip
                )
                loss = made.loss - bonus * said[..., 1].sum() if bonus else made.loss
                (loss / batch.tokens).backward()
                tally.loss += loss.item()
                tally.clipped += made.clipped.item()
                tally.approx_kl += made.approx_kl.item()
        return tally


def _taken(tokens: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """The tokens' log-probabilities."""
    return logits.gather(-1, tokens[..., None]) - logits.logsumexp(dim=-1, keepdim=True)


def _said(tokens: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """The tokens' log-probabilities, and the entropies of what they were drawn from."""
    whole = logits.log_softmax(dim=-1)
    entropy = -(whole.exp() * whole).sum(dim=-1, keepdim=True)
    return torch.cat([whole.gather(-1, tokens[..., None]), entropy], dim=-1)
