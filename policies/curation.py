"""From judged candidates to preferences.

A preference is the pair of a prompt's candidates whose rewards lie furthest apart, as one judge in one
version saw both. Only prompts of the train split give any: what calibrates, audits or gates must never teach.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from policies.judging.prompts import MAX_ANSWER
from policies.policy import CurationRule
from policies.records import Role, Split

SOFT_SCALE = 2.0
"""Reward difference at which the estimated odds of `chosen` being better are e to one."""


@dataclass(frozen=True, slots=True)
class Score:
    """One judge's reward of a candidate (0-10). `judge` is its name; another version is another judge."""

    verdict_id: int
    judge: str
    role: Role
    version: str
    reward: float


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate with the scores it got; abstentions are not scores."""

    candidate_id: int
    text: str
    scores: tuple[Score, ...] = ()
    truncated: bool = False
    """It was cut off by a limit of length."""
    unshown: bool = False
    """A part of it is no text, and a placeholder stands for it."""

    @property
    def whole(self) -> bool:
        """Whether the judges saw all of it: a longer one is shown to them in part."""
        return len(self.text) <= MAX_ANSWER


@dataclass(frozen=True, slots=True)
class JudgedPrompt:
    """A trace's prompt with its judged candidates. `contributor` is who the cap on one source counts."""

    trace_id: int
    cluster: str
    split: Split
    contributor: str
    candidates: tuple[Judged, ...]


@dataclass(frozen=True, slots=True)
class Preference:
    """A pair to learn from. `soft` is the estimated probability that chosen is the better one."""

    trace_id: int
    cluster: str
    contributor: str
    chosen_id: int
    rejected_id: int
    margin: float
    difference: float
    soft: float
    verdict_ids: tuple[int, int]


@dataclass(frozen=True, slots=True)
class NoPreference:
    """Why a prompt gives no preference."""

    reason: str


def preference_of(prompt: JudgedPrompt, rule: CurationRule) -> Preference | NoPreference:
    """The prompt's preference: best against worst, if they differ enough in reward and in text.

    Where the large judge scored both answers of a pair its scores count, else the small judge's. Ties between
    pairs go to the lower candidate ids, so that the same scores always give the same pair. An answer that was
    cut off may lose and never wins: its end, in the middle of a sentence, would be taught. One that the
    judges saw only in part is in no pair, and neither is one with a placeholder for what is no text.
    """
    if prompt.split is not Split.TRAIN:
        return NoPreference(f"the cluster is in the {prompt.split.value} split")
    scored = list(_pairs(prompt))
    if not scored:
        return NoPreference("no two candidates were scored by the same judge version")
    usable = [pair for pair in scored if not pair[0].truncated and pair[0].whole and pair[1].whole]
    if not usable:
        return NoPreference("every better answer was cut off, or was shown to the judges only in part")
    usable = [pair for pair in usable if not (pair[0].unshown or pair[1].unshown)]
    if not usable:
        return NoPreference("a part of the answer cannot be shown as text, and its placeholder is no answer")
    return _checked(prompt, rule, max(usable, key=_margin))


def _pairs(prompt: JudgedPrompt) -> Iterator[tuple[Judged, Judged, Score, Score]]:
    """Every two candidates that one judge version scored, the better one first."""
    for one, other in combinations(sorted(prompt.candidates, key=lambda judged: judged.candidate_id), 2):
        scores = _same_judge(one, other)
        if scores is None:
            continue
        if scores[0].reward >= scores[1].reward:
            yield one, other, *scores
        else:
            yield other, one, *scores[::-1]


def difference(one: str, other: str) -> float:
    """The share of words in which two texts differ: 1 - Jaccard index of their word multisets, 0 to 1.

    Case, spacing and word order do not count. Time is linear in the texts, which strangers may have written.
    """
    first, second = Counter(one.casefold().split()), Counter(other.casefold().split())
    union = (first | second).total()
    return 1 - (first & second).total() / union if union else 0.0


def review_pairs(
    texts: Mapping[int, str], *, salt: Hashable, limit: int
) -> tuple[tuple[tuple[int, int], ...], float]:
    """The pairs of candidate ids that judges and people compare, and the probability each had of being one.

    Pairs of the same text are left out: nobody can choose. Of the others, `limit` are drawn by hash, so that
    a repeated call draws the same. In each pair the lower id comes first.
    """
    possible = [(a, b) for a, b in combinations(sorted(texts), 2) if texts[a].strip() != texts[b].strip()]
    if not possible:
        return (), 0.0

    def rank(pair: tuple[int, int]) -> bytes:
        return hashlib.sha256(f"review:{salt}:{pair[0]}:{pair[1]}".encode()).digest()

    drawn = sorted(possible, key=rank)[:limit]
    return tuple(sorted(drawn)), len(drawn) / len(possible)


def _same_judge(one: Judged, other: Judged) -> tuple[Score, Score] | None:
    """The scores of both by one judge's version: a large judge's first, of several the newest."""
    theirs = {(score.judge, score.version): score for score in other.scores}
    both = [(score, theirs[key]) for score in one.scores if (key := (score.judge, score.version)) in theirs]
    usable = [pair for pair in both if pair[0].role in {Role.SMALL, Role.LARGE}]
    return max(usable, key=lambda pair: (pair[0].role is Role.LARGE, pair[0].verdict_id), default=None)


def _margin(pair: tuple[Judged, Judged, Score, Score]) -> float:
    return pair[2].reward - pair[3].reward


def _checked(
    prompt: JudgedPrompt, rule: CurationRule, pair: tuple[Judged, Judged, Score, Score]
) -> Preference | NoPreference:
    chosen, rejected, high, low = pair
    margin = _margin(pair)
    if margin < rule.min_margin:
        return NoPreference(f"the rewards differ by {margin:.2f}, less than {rule.min_margin:g}")
    differs = difference(chosen.text, rejected.text)
    if differs < rule.min_difference:
        return NoPreference(f"the texts differ by {differs:.1%}, less than {rule.min_difference:.1%}")
    return Preference(
        trace_id=prompt.trace_id,
        cluster=prompt.cluster,
        contributor=prompt.contributor,
        chosen_id=chosen.candidate_id,
        rejected_id=rejected.candidate_id,
        margin=margin,
        difference=differs,
        soft=1 / (1 + math.exp(-margin / SOFT_SCALE)),
        verdict_ids=(high.verdict_id, low.verdict_id),
    )
