"""What `auto` in a recipe becomes: explicit numbers from the size of base and data.

What counts is how far the weights move. AdamW moves every weight by about the learning rate in each step, a
new adapter starts at zero, and so the KL of fresh answers grows about with the square of the sum of the
learning rates of all steps. Measured on SmolLM2-135M with 45 pairs and answers of up to 48 tokens: 3e-4 for
24 steps made a KL of 1.85 nats per sequence, 5e-6 for 6 steps made 0.0001. The rules keep that sum near the
first of the two, whatever the number of pairs; pairs that are seen often pull the weights one way, and get
less.
"""

import math
from typing import Protocol

from policies.quantities import Auto

LEAST_STEPS = 24
"""Fewer teach nothing at a rate that is still safe."""
MEASURED_RATE, MEASURED_STEPS, MEASURED_EPOCHS = 3e-4, LEAST_STEPS, 2
MEASURED_HIDDEN, MEASURED_ANSWER, MEASURED_ALPHA = 576, 48, 32
STEPS_POWER = 0.9
"""Between 1, where all steps agree on a weight's direction, and 0.5, where they are noise. With it the rate
is 1e-4 near 80 steps, which is LlamaFactory's for fewer than 5,000 examples (its author at
QwenLM/Qwen3-VL#127), and near 1e-5 for a large set on a large base, the best LoRA rate of TRL's table (trl
PR#4207)."""
NOISE_POWER = 0.5
"""Where each step learns from a few answers of its own, as in PPO."""
EPOCHS_POWER = 0.5
"""Where the pairs are seen more often than in the measured run: 16 of them, six times at 3.5e-4, made a KL of
6.1 nats on their own prompts."""
HIDDEN_POWER = 0.5
"""Schulman et al. 2025, "LoRA Without Regret", fits ten times full fine-tuning's rate, falling with the
hidden size to the power of 0.78 for Llama and of 0.08 for Qwen: between the two."""
ANSWER_POWER = 0.5
"""The KL of a sequence is a sum over its tokens, and grows with the square of the rate. Shorter answers than
the measured ones get no more for it: they are often all alike, and pull one way (200 pairs of 22 tokens, in
part form letters, 50 steps at 2.3e-4: 13.6 nats)."""
RATES = (2e-6, 1e-3)
"""Lowest and highest rate that a rule gives."""
BATCHES = ((64, 4), (2_000, 8), (10_000, 16))
"""Pairs of a step below so many pairs; few pairs need small batches to have steps at all."""
LARGE_BATCH = 32
FEW_PAIRS = 500
"""Below it the pairs are seen twice at least."""
LEAST_WARM, MOST_WARM = 40, 10
"""A run of fewer steps than the first has no warm-up; none has more warm-up steps than the second."""
WARM_SHARE = 0.1
READINGS = 4
"""Least readings of the guards in a run, first and last counted."""
READING_EVERY = 25
READING_SHARE = 0.1
"""Most of a run's time that readings above the least may take."""


def batch_of(pairs: int) -> int:
    """Pairs of a step: fewer for few pairs, down to a quarter of them."""
    size = next((size for below, size in BATCHES if pairs < below), LARGE_BATCH)
    return max(1, min(size, pairs // 4))


def steps_of(pairs: int, batch: int, epochs: float) -> int:
    """Optimiser steps; the last batch of an epoch may be smaller. The trainer counts the same way."""
    return math.ceil(epochs * math.ceil(pairs / batch))


def epochs_of(pairs: int, batch: int) -> float:
    """Whole epochs, as many as the least number of steps takes."""
    least = math.ceil(LEAST_STEPS / math.ceil(pairs / batch))
    return float(max(least, 2 if pairs < FEW_PAIRS else 1))


def learning_rate_of(
    steps: int, epochs: float, *, hidden: int, answer: float, alpha: int, power: float = STEPS_POWER
) -> float:
    """The highest learning rate of a run, to two digits.

    `answer` is the mean length of an answer in tokens. The adapter's effect is its weights times alpha (the
    share of each rank is 1 / r, and there are r of them).
    """
    rate = (
        MEASURED_RATE
        * (MEASURED_STEPS / max(steps, 1)) ** power
        * min(1.0, MEASURED_EPOCHS / epochs) ** EPOCHS_POWER
        * (MEASURED_HIDDEN / hidden) ** HIDDEN_POWER
        * min(1.0, MEASURED_ANSWER / max(answer, 1)) ** ANSWER_POWER
        * MEASURED_ALPHA
        / alpha
    )
    low, high = RATES
    return float(f"{min(max(rate, low), high):.1e}")


def warmup_of(steps: int) -> int:
    """Steps of rising learning rate. Few steps have none to give away."""
    return 0 if steps < LEAST_WARM else min(MOST_WARM, math.ceil(WARM_SHARE * steps))


class Warming(Protocol):
    """What a recipe says of its warm-up."""

    @property
    def warmup_ratio(self) -> float | Auto:
        """Share of the steps in which the learning rate rises."""


def warmup_steps(recipe: Warming, steps: int) -> int:
    """The recipe's own share of the steps, or the rule's."""
    if recipe.warmup_ratio == "auto":
        return warmup_of(steps)
    return math.ceil(recipe.warmup_ratio * steps)


def reading_every(steps: int, *, run: float, reading: float) -> int:
    """Steps between two readings of the guards.

    `run` and `reading` are what the steps and one reading cost, in any one unit. There are at least four
    readings, however short the run; more of them, up to one in 25 steps, take a tenth of its time at most.
    """
    affordable = int(READING_SHARE * run / reading) if reading else steps
    intervals = max(READINGS - 1, min(affordable, steps // READING_EVERY))
    return math.ceil(steps / intervals)
