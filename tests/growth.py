"""How the cost of reading strangers' text grows with its size."""

import gc
import time
from collections.abc import Callable

ROUNDS = 5
LINEAR = 24
"""At eight times the size: what is linear costs 8 times as much, what is quadratic 64."""


def growth(work: Callable[[int], object], size: int, *, times: int = 8) -> float:
    """The cost at `times` the size in multiples of the cost at `size`: processor time of this thread, the
    least of a few rounds, so that a busy machine changes little. The collector rests meanwhile: how often it
    looks at everything depends on what else the process holds.
    """
    work(size)  # what is built once is built now
    gc.collect()
    gc.disable()
    try:
        return _cost(work, size * times) / _cost(work, size)
    finally:
        gc.enable()


def _cost(work: Callable[[int], object], size: int) -> float:
    costs: list[float] = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        work(size)
        costs.append(time.thread_time() - start)
    return max(min(costs), 1e-9)
