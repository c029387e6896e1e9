"""Steps down a gradient: Adam on some weights, its norm held, and no step where a number is not finite."""

import math
from collections.abc import Mapping

import torch

EPSILON = 1e-5
"""Adam's; PPO's authors' value, a thousand times torch's (Huang et al. 2024, arXiv:2403.17031)."""


class Descent:
    """The weights of one role with their optimiser."""

    def __init__(
        self, weights: Mapping[str, torch.nn.Parameter], *, learning_rate: float, max_norm: float
    ) -> None:
        self.weights = dict(weights)
        self._learning_rate = learning_rate
        self._max_norm = max_norm
        self.optimiser = torch.optim.AdamW(
            list(self.weights.values()), lr=learning_rate, betas=(0.9, 0.95), eps=EPSILON, weight_decay=0.0
        )

    def clear(self) -> None:
        """Forgets the gradients."""
        self.optimiser.zero_grad(set_to_none=True)

    def step(self, loss: float, part: float = 1.0) -> float:
        """Goes one step with the gradients there are and forgets them. Gives their norm before it was held.

        `part` is the step's part of the learning rate. Where loss or norm is not finite the weights stay as
        they are.
        """
        norm = torch.nn.utils.clip_grad_norm_(list(self.weights.values()), self._max_norm).item()
        if math.isfinite(loss) and math.isfinite(norm):
            for group in self.optimiser.param_groups:
                group["lr"] = part * self._learning_rate
            self.optimiser.step()
        self.clear()
        return norm
