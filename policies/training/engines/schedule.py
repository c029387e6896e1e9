"""The learning rate's course: a short rise, then half a cosine down. No step of a run is made at rate 0."""

import math


def factor(step: int, *, warmup: int, steps: int) -> float:
    """The share of the highest learning rate at which step number `step` (from 0) is made.

    The warm-up rises in equal parts, of which the first step has one: 1 / (warmup + 1). The first step after
    it is made at the full rate. Beyond the last step the answer is 0: nothing is made there.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if step >= steps:
        return 0.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
