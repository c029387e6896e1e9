"""What an answer's reward is made of, in points of 0 to 10: models' views, stored verdicts, the ceiling."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True, slots=True)
class Reward:
    """An answer's reward. `capped`: the ceiling held it down."""

    value: float
    capped: bool = False


def pessimistic(views: Sequence[float], penalty: float) -> float:
    """The mean of several models' rewards minus `penalty` standard deviations over them.

    Where they disagree nobody has seen such an answer, and a policy that is rewarded there finds what the
    models get wrong (Coste et al. 2023, arXiv:2310.02743). One model alone has nothing to disagree with.
    """
    return fmean(views) - (penalty * stdev(views) if len(views) > 1 else 0.0)


def mixed(parts: Sequence[tuple[float, float | None]]) -> float | None:
    """The weighted mean of (weight, reward) over the known parts; None where none with a weight is known."""
    known = [(weight, reward) for weight, reward in parts if reward is not None and weight > 0]
    total = math.fsum(weight for weight, _ in known)
    return math.fsum(weight * reward for weight, reward in known) / total if known else None


def finished(mix: float, *, ceiling: float | None, truncated: bool, truncation_penalty: float) -> Reward:
    """The reward that training sees, before its penalty on KL.

    The ceiling comes first, so that no answer is good enough to be cut off for free.
    """
    capped = ceiling is not None and mix > ceiling
    value = ceiling if capped and ceiling is not None else mix
    return Reward(value - truncation_penalty * truncated, capped)


def ceiling_of(rewards: Sequence[float], quantile: float) -> float:
    """The reward that this share of the given ones does not pass, between neighbours by a line.

    What a policy gains above the best answers that were judged is what its reward model imagines. Raises
    ValueError without rewards.
    """
    if not rewards:
        raise ValueError("no rewards to take a ceiling from")
    ordered = sorted(rewards)
    place = quantile * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
