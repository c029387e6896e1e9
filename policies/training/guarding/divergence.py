"""Whether a reward and a judge go apart: decisions alone, from numbers that others measured.

A policy that learns from a reward finds what the reward gets wrong, and the reward alone cannot tell (Gao et
al. 2023, arXiv:2210.10760). Where it says that the answers became better, and a judge that nothing learns
from says that they became worse, both beyond chance, the run is not worth going on with.

Each prompt is its own control: answers of now and of the start to the same prompt, sampled with the same
numbers, are compared by the one-sided t bound of their differences. A run looks several times, so that each
look has its part of the error (Bonferroni): a run whose judge in truth sees no fall is stopped by chance in
one of twenty at most, also where it looks often.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from policies.policy import FEWEST_PROMPTS, Guard
from policies.quantities import Auto
from policies.statistics.intervals import t_quantile
from policies.training.guarding.guards import Breach
from policies.training.jobs import Divergence

ERROR = 0.05
"""Of a whole run, one-sided."""
SOUNDINGS = 4
"""After the one at the start, where the policy leaves open how often."""


@dataclass(frozen=True, slots=True)
class View:
    """What was said of one answer, in points of 0 to 10: training's reward and the judge's score."""

    reward: float
    judge: float


@dataclass(frozen=True, slots=True)
class MeanChange:
    """The mean of paired differences, with its one-sided bounds."""

    mean: float
    lower: float
    upper: float


def spacing(asked: int | Auto, steps: int) -> int:
    """Steps between two soundings of a run."""
    return math.ceil(steps / SOUNDINGS) if asked == "auto" else asked


def looks(steps: int, every: int) -> int:
    """How often a run is held against its start: every so many steps, and at its end."""
    return max(1, math.ceil(steps / every))


def compared(
    step: int, start: Mapping[int, View], now: Mapping[int, View], guard: Guard, *, looks: int
) -> Divergence:
    """The verdict of one look. Views are by prompt; only prompts of both count."""
    both = sorted(start.keys() & now.keys())
    if len(both) < FEWEST_PROMPTS:
        return Divergence(
            step=step,
            prompts=len(both),
            unknown=f"{len(both)} prompts have figures of the start and of now: {FEWEST_PROMPTS} are needed",
        )
    reward = change([now[each].reward - start[each].reward for each in both], looks)
    judge = change([now[each].judge - start[each].judge for each in both], looks)
    apart = reward.lower > 0 and judge.upper < -guard.limit
    return Divergence(
        step=step,
        prompts=len(both),
        reward=reward.mean,
        reward_lower=reward.lower,
        judge=judge.mean,
        judge_upper=judge.upper,
        diverged=apart,
    )


def change(differences: Sequence[float], looks: int) -> MeanChange:
    """The mean difference, and the bounds that each hold with an error of ERROR over so many looks."""
    mean, count = fmean(differences), len(differences)
    half = t_quantile(1 - ERROR / looks, count - 1) * stdev(differences) / math.sqrt(count)
    return MeanChange(mean, mean - half, mean + half)


def breaches(found: Divergence, guard: Guard) -> list[Breach]:
    """The limit that was passed, if it was."""
    if not found.diverged:
        return []
    assert None not in (found.reward, found.reward_lower, found.judge, found.judge_upper)
    reason = (
        f"divergence: since the start the reward of fresh answers rose by {found.reward:.2f} points (at "
        f"least {found.reward_lower:.2f}), and the large judge's score of them fell by "
        f"{-(found.judge or 0):.2f} (at least {-(found.judge_upper or 0):.2f}, above {guard.limit:g}), on "
        f"{found.prompts} prompts"
    )
    return [Breach("divergence", reason, guard.mode == "enforce")]
