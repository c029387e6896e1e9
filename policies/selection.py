"""Which of the stored preferences a snapshot holds, and why the others are left out.

Newest first, one contributor gives no more than its cap. A cap is a share of what the snapshot holds in the
end, so that it is lowered until it fits its own result; of all caps that fit, the highest is found.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from policies.policy import CurationRule


class Reason(StrEnum):
    """Why a preference is not in a snapshot."""

    CONTRIBUTOR = "contributor"
    """Its contributor has given as many as one may."""
    LIMIT = "limit"
    """The snapshot is full, and newer ones are in it."""


WHY = {
    Reason.CONTRIBUTOR: "beyond what one contributor may give",
    Reason.LIMIT: "older than the newest that policy.curation.max_pairs or the limit asked for lets in",
}


def told(left_out: Mapping[Reason, int]) -> str:
    """The counts as text; "" where nothing is left out."""
    return ", ".join(f"{left_out[why]} {said}" for why, said in WHY.items() if left_out.get(why))


class Offer(Protocol):
    """What has to be known of a preference."""

    @property
    def contributor(self) -> str: ...


O = TypeVar("O", bound=Offer)  # noqa: E741 - an offer


@dataclass(frozen=True, slots=True)
class Selection(Generic[O]):
    """What a snapshot holds, newest first, and how many are left out for which reason (none is 0)."""

    kept: tuple[O, ...]
    left_out: Mapping[Reason, int] = field(default_factory=dict)


def selected(newest_first: Sequence[O], rule: CurationRule, *, limit: int | None = None) -> Selection[O]:
    """The preferences that a snapshot may hold, at most `limit` and `rule.max_pairs`.

    One contributor gives at most `max_source_pairs`, and at most `max_source_share` of the result or
    `max_source_fair` times its fair share (the result divided by its contributors), whichever is more; one
    pair always.
    """
    most = min(limit or rule.max_pairs, rule.max_pairs)
    allowed = rule.max_source_pairs
    while True:
        kept, left_out = _walk(newest_first, allowed, most)
        fitting = _fitting(kept, rule)
        if fitting >= allowed:
            return Selection(tuple(kept), left_out)
        allowed = fitting


def _walk(newest_first: Sequence[O], allowed: int, most: int) -> tuple[list[O], Counter[Reason]]:
    given: Counter[str] = Counter()
    left_out: Counter[Reason] = Counter()
    kept: list[O] = []
    for item in newest_first:
        if given[item.contributor] >= allowed:
            left_out[Reason.CONTRIBUTOR] += 1
        elif len(kept) >= most:
            left_out[Reason.LIMIT] += 1
        else:
            given[item.contributor] += 1
            kept.append(item)
    return kept, left_out


def _fitting(kept: Sequence[Offer], rule: CurationRule) -> int:
    """How many pairs one contributor may have in a snapshot of these."""
    contributors = len({item.contributor for item in kept})
    fair = rule.max_source_fair * len(kept) / contributors if kept else 0.0
    return max(1, math.floor(rule.max_source_share * len(kept) + 1e-9), math.floor(fair + 1e-9))
