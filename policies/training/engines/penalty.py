"""The coefficient of KL in the reward, steered to a KL per sequence.

Ziegler et al. 2019 (arXiv:1909.08593, section 2.2): e = clip(KL / target - 1, -0.2, 0.2), and the next
coefficient is this one times 1 + gain e.
"""

from dataclasses import dataclass, replace

REACH = 0.2
"""Most that one measurement counts for."""
FLOOR = 0.1
"""Share of the first coefficient below which it never falls: a policy begins at a KL of 0, and what it may do
before the target is reached would else be for free."""


@dataclass(frozen=True, slots=True)
class Penalty:
    """The coefficient now, in points of reward per nat, and how it moves."""

    coefficient: float
    first: float
    target: float
    gain: float

    def after(self, kl: float) -> "Penalty":
        """The penalty of the next step, from this step's mean KL per sequence in nats."""
        error = min(REACH, max(-REACH, kl / self.target - 1))
        moved = self.coefficient * (1 + self.gain * error)
        return replace(self, coefficient=max(moved, FLOOR * self.first))
