"""Finding the one prompt in a batch that kills the process which answers it.

A prompt's trial is the size of the batch in which it was last given to the policy without an answer. Each
further batch is at most half of that, until a prompt is alone. One that the process died on twice while it
was alone is at fault, if a plain question is answered.
"""

from collections.abc import Sequence
from typing import Final

ALONE_TWICE: Final = 0
"""The trial of a prompt that was alone twice."""


def together(trials: Sequence[int | None]) -> int:
    """How many of the first prompts are given to the policy at once; None is a prompt that never failed."""
    most = len(trials)
    for size, trial in enumerate(trials, start=1):
        if trial is not None:
            most = min(most, max(1, trial // 2))
        if size > most:
            return size - 1
    return most


def noted(trial: int | None, size: int) -> int:
    """The trial of a prompt that is given to the policy in a batch of `size`, until it is answered."""
    return ALONE_TWICE if trial in {ALONE_TWICE, 1} else size
