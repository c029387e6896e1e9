"""What part of the learning rate a step has."""


def factor(step: int, *, warmup: int, steps: int) -> float:
    """Of step 1 to `steps`: up in a line over the first `warmup`, then down in a line, never 0.

    The first step has 1 / warmup and the last 1 / (steps - warmup): with 0 a step is paid for and learns
    nothing. Adam's first steps are as large as the learning rate whatever the gradient, which is what the
    warm-up is for.
    """
    if step <= warmup:
        return step / warmup
    return (steps - step + 1) / max(steps - warmup, 1)
