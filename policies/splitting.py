"""Which shares of the prompts reach the gate first, given what is missing in each split.

The least number of events at which shares exist that bring each split what it lacks, all of them together as
likely as not. A prompt's split never changes: only the new prompts of further events are divided anew.
"""

import math
from collections.abc import Sequence

from policies.policy import Splits
from policies.records import Split
from policies.stock import ASKED_SPLITS, Traffic
from policies.waits import LIKELY, Demand, chance_for, first

LEAST_SHARE = 0.05
"""Of each split: what has all it needs today (labels, say) needs more once a judge or the agent changes."""


def shares(demands: Sequence[Demand], traffic: Traffic) -> Splits | None:
    """The shares, in whole per cent; `calibrate`, for which neither training nor gate waits, gets none.

    None where nothing is missing or no shares bring it.
    """
    wanted = [each for each in demands if each.hits > 0]
    if not wanted or traffic.novelty.estimate <= 0 or any(each.yields.estimate <= 0 for each in wanted):
        return None
    level = LIKELY ** (1 / len({each.split for each in wanted}))
    events = first(lambda n: sum(_shares(wanted, traffic, n, level).values()) <= 1)
    found = _shares(wanted, traffic, events, level)
    audit, gate = (math.ceil(100 * found[split] - 1e-6) for split in (Split.AUDIT, Split.GATE))
    train = 100 - audit - gate
    if train < 100 * LEAST_SHARE:
        return None
    return Splits(train=train / 100, calibrate=0.0, audit=audit / 100, gate=gate / 100)


def _shares(demands: Sequence[Demand], traffic: Traffic, events: int, level: float) -> dict[Split, float]:
    """What each split has to get so that so many events bring what is missing in it, at this probability."""
    found = dict.fromkeys(ASKED_SPLITS, LEAST_SHARE)
    for each in demands:
        chance = chance_for(events, each.hits, level)
        share = math.inf if chance is None else traffic.share_for(each.split, chance / each.yields.estimate)
        found[each.split] = max(found[each.split], share)
    return found
