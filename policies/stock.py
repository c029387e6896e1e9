"""What a policy has to work with: prompts, preferences, pairs and labels, and the traffic they come from.

The store counts it (`daemon/store/readiness.py`), each figure to a bound that is far above what is asked;
`policies/readiness.py` holds it against what training and gate ask for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from policies.alignment import Alignment
from policies.judging.judges import NamedJudge
from policies.policy import CurationRule, PolicySpec, Splits
from policies.records import Split
from policies.selection import Reason, contributor_cap
from policies.waits import Rate, known, observed

ASKED_SPLITS = (Split.TRAIN, Split.AUDIT, Split.GATE)
"""What training, alignment and gate take their prompts from."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The newest events. `fresh` brought a prompt that none before them had; `repeats` are the others.

    `contributors` are those whom the cap on one source counts; `once` of them are behind one event alone.
    """

    events: int = 0
    fresh: int = 0
    repeats: Mapping[Split, int] = field(default_factory=dict)
    contributors: int = 0
    once: int = 0

    @property
    def novelty(self) -> Rate:
        """How often an event brings a new prompt; always, where there was no event yet."""
        return observed(self.fresh, self.events)

    def chances(self, splits: Splits) -> dict[Split, Rate]:
        """With which probability the next event falls into a split; for the gate's, with a new prompt.

        A new prompt is split by the shares given, a known one stays where it is. Each event that repeats a
        prompt is sampled and judged anew, but the gate asks each prompt once.
        """
        found = {}
        for split in ASKED_SPLITS:
            share, rest, new = float(getattr(splits, split.value)), self._rest(split), self.novelty
            ends = sorted(each * share + (1 - each) * rest for each in (new.lower, new.upper))
            estimate = new.estimate * share + (1 - new.estimate) * rest
            found[split] = Rate(estimate, ends[0], ends[1], self.events)
        return found

    def share_for(self, split: Split, chance: float) -> float:
        """The share with which an event falls into the split at this chance; above 1 where none does."""
        new = self.novelty.estimate
        missing = chance - (1 - new) * self._rest(split)
        return 0.0 if missing <= 0 else missing / new if new > 0 else math.inf

    def _rest(self, split: Split) -> float:
        again = sum(self.repeats.values())
        return self.repeats.get(split, 0) / again if again and split is not Split.GATE else 0.0


@dataclass(frozen=True, slots=True)
class Supply:
    """What recipes of one kind of snapshot learn from, `called` so in the plural and `one` in the singular.

    `rivals`: it takes a second answer to a prompt. `uncurated` are train events that the stages still have in
    hand. Of the newest `curated` train events `gave` gave something. `kept` of what is `stored` goes into a
    snapshot, `left_out` says why the rest does not; `fresh` came after the last training began.
    """

    method: str = "dpo"
    called: str = "preferences"
    one: str = "a preference"
    rivals: bool = True
    uncurated: int = 0
    curated: int = 0
    gave: int = 0
    stored: int = 0
    kept: int = 0
    left_out: Mapping[Reason, int] = field(default_factory=dict)
    fresh: int = 0


@dataclass(frozen=True, slots=True)
class Stock(Supply):
    """All that counts: what the policy's first recipe learns from, and what `others` do.

    Without anything stored every figure is 0 and every rate is assumed. `unsampled` are audit events that the
    stages still have in hand. `possible` is, for each of the newest sampled audit events, how many pairs of
    answers differ. `unlabelled` of their pairs wait for people; people looked at `labelled` pairs and
    preferred an answer in `settled`. Of the gate judge's newest `rulings` it `decided` so many.
    """

    traffic: Traffic = Traffic()
    prompts: Mapping[Split, int] = field(default_factory=dict)
    others: tuple[Supply, ...] = ()
    unsampled: int = 0
    possible: tuple[int, ...] = ()
    unlabelled: int = 0
    labelled: int = 0
    settled: int = 0
    rulings: int = 0
    decided: int = 0
    alignment: Mapping[NamedJudge, Alignment] = field(default_factory=dict)

    def of(self, supply: Supply) -> "Stock":
        """The same with another recipe as the first."""
        return replace(self, **{each.name: getattr(supply, each.name) for each in fields(Supply)})

    def pairs_per_prompt(self, policy: PolicySpec, review_pairs: int) -> float:
        """Answer pairs of one audit event that are put to people: those that differ, at most `review_pairs`.

        Without a sampled audit event, what the configured number of answers gives if all differ.
        """
        possible: Sequence[int] = self.possible or (most_pairs(policy),)
        return sum(min(review_pairs, each) for each in possible) / len(possible)

    def room(self, missing: int, rule: CurationRule) -> Rate:
        """The share of what is further learned from that the caps on one contributor let into a snapshot.

        While those known have room for what is missing it is all of them; afterwards it takes new ones, which
        come as often as one contributor in the traffic is behind one event alone (Good, Biometrika 40, 1953).
        """
        wanted, contributors = self.kept + missing, self.traffic.contributors
        if not self.traffic.events or contributors >= wanted or attainable(contributors, rule) >= wanted:
            return known(1.0)
        return observed(self.traffic.once, self.traffic.events)


def most_pairs(policy: PolicySpec) -> int:
    """Pairs of the logged answer and the sampled ones, if all differ."""
    return math.comb(policy.sampling.candidates + 1, 2)


def attainable(contributors: int, rule: CurationRule) -> int:
    """The largest snapshot that so many contributors can fill, whatever each of them says.

    All give alike, so that the caps are lowered as `selected` does it, without a look at any pair.
    """
    cap = rule.max_source_pairs
    while True:
        kept = min(contributors * cap, rule.max_pairs)
        fitting = min(cap, contributor_cap(kept, min(contributors, kept), rule))
        if fitting == cap:
            return kept
        cap = fitting
