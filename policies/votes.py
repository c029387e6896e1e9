"""What people's labels of a pair are to a fit: which answer is the better one, and how surely."""

from collections.abc import Sequence
from dataclasses import dataclass

from policies.alignment import Choice, Side, adjudicate

RIGHT = 0.9
"""How often one person's choice is the right one. Two people agree in about 81 % of the pairs in which
neither sees a tie (Zheng et al. 2023, arXiv:2306.05685, table 5), and 0.9 * 0.9 + 0.1 * 0.1 is 0.82."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A pair of which people preferred one answer. `labels` are the numbers of all labels on it, `better` and
    `worse` those of the candidates; `soft` is the probability that the better one really is.
    """

    labels: tuple[int, ...]
    better: int
    worse: int
    soft: float


def settled(humans: Sequence[Choice]) -> tuple[Side, float] | None:
    """The side that most chose, with the probability that it really is the better one; None where no side is.

    People are taken to err independently of one another, so that only the difference of the votes counts.
    """
    side = adjudicate(humans)
    if side is None:
        return None
    votes = sum(human == side for human in humans)
    ahead = votes - sum(human not in {side, "tie"} for human in humans)
    return side, 1 / (1 + ((1 - RIGHT) / RIGHT) ** ahead)
