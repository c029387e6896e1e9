"""Which of the stored preferences a snapshot holds, and why the others are left out.

Newest first, up to the caps. A cap that is a share is one of what the snapshot holds in the end, so that it
is lowered until it fits its own result; without a limit that finds the highest caps that fit. The cost is
linear in the number of preferences, a few times over.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from policies.clusters import unit
from policies.policy import CurationRule, TopicMix

DAY_S = 86_400.0
_ROUNDING = 1e-9


class Reason(StrEnum):
    """Why a preference, or an answer by itself, is not in a snapshot."""

    STALE = "stale"
    """Its event is older than `max_age_days`."""
    ALIKE = "alike"
    """As many that read nearly alike are in."""
    CONTRIBUTOR = "contributor"
    """Its contributor has given as many as one may."""
    TOPIC = "topic"
    """Its topic has the share that the mix gives it."""
    LIMIT = "limit"
    """The snapshot is full."""
    CONTRADICTORY = "contradictory"
    """Of an answer by itself, as all that follow: its thumbs are up and down."""
    UNREADABLE = "unreadable"
    """What users said has neither a score nor a known label."""
    MIDDLING = "middling"
    """Its score or rating is between bad and good."""
    LOW_REWARD = "low_reward"
    """It is the best of its prompt's answers, and none is good enough."""
    CUT_OFF = "cut_off"
    """It is good as far as it goes: its end would be taught."""
    SEEN_IN_PART = "seen_in_part"
    """Nobody saw all of it."""
    SOUNDED = "sounded"
    """A policy under training gave it, for a judge to hold against its reward: nothing learns from it."""
    REVISED = "revised"
    """A later revision of the event, or a thumb beside the score, says it better."""
    NOT_BEST = "not_best"
    """Another answer to the same prompt is the target."""
    UNDECIDED = "undecided"
    """Of a pair that people labelled: they prefer neither answer."""
    LABELLED = "labelled"
    """Of a preference: people labelled its two answers, and that counts in its place."""
    REPEATED = "repeated"
    """Of a prompt: a newer one of its cluster stands for it."""


WHY = {
    Reason.STALE: "older than policy.curation.max_age_days",
    Reason.ALIKE: "nearly the same as policy.curation.max_alike others",
    Reason.CONTRIBUTOR: "beyond what one contributor may give",
    Reason.TOPIC: "beyond their topic's share in policy.curation.mix",
    Reason.LIMIT: "older than the newest that policy.curation.max_pairs or the limit asked for lets in",
    Reason.CONTRADICTORY: "of which users say good and bad",
    Reason.UNREADABLE: "whose thumb has neither a score nor a known label",
    Reason.MIDDLING: "scored or rated between bad and good",
    Reason.LOW_REWARD: "below policy.recipe.min_reward",
    Reason.CUT_OFF: "cut off by a limit of length",
    Reason.SEEN_IN_PART: "that were seen only in part",
    Reason.SOUNDED: "that a policy under training gave to be judged",
    Reason.REVISED: "that another revision or a thumb replaces",
    Reason.NOT_BEST: "beside a better one to the same prompt",
    Reason.UNDECIDED: "of whose answers people prefer neither",
    Reason.LABELLED: "that people's labels replace",
    Reason.REPEATED: "that repeat a newer one",
}


def told(left_out: Mapping[Reason, int]) -> str:
    """The counts as text; "" where nothing is left out."""
    return ", ".join(f"{left_out[why]} {said}" for why, said in WHY.items() if left_out.get(why))


@dataclass(frozen=True, slots=True)
class Offer:
    """A stored preference or answer, as far as a snapshot asks.

    `at` is when its event was, in seconds since the epoch. `topic` is what its trace says under the mix's
    tag. Texts that read nearly alike have a number of their `sketch` in common (none: nothing is known).
    `seen`: a snapshot that a run learned from had it.
    """

    contributor: str
    id: int = 0
    at: float = 0.0
    topic: str = ""
    sketch: tuple[str, ...] = ()
    seen: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """What a snapshot holds, newest first, and how many are left out for which reason."""

    kept: tuple[Offer, ...]
    left_out: Mapping[Reason, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Caps:
    """Most pairs of one contributor, and of each topic that has a bound."""

    contributor: int
    topics: Mapping[str, int]


def selected(
    newest_first: Sequence[Offer], rule: CurationRule, *, now: float, limit: int | None = None
) -> Selection:
    """The preferences that a snapshot may hold, at most `limit` and `rule.max_pairs`.

    One contributor gives at most `max_source_pairs`, and at most `max_source_share` of the result or
    `max_source_fair` times its fair share (the result divided by its contributors), whichever is more; one
    pair always. Of pairs that read nearly alike `max_alike` are in. Pairs of events older than `max_age_days`
    are in only as replay: up to `replay_share` is drawn, by hash, of what runs learned from before.
    """
    most = min(limit or rule.max_pairs, rule.max_pairs)
    fresh = [at for at, offer in enumerate(newest_first) if not _stale(offer, rule, now)]
    replay = _replay(newest_first, len(fresh), rule, most)
    caps = _Caps(
        rule.max_source_pairs, _opening(Counter(offer.topic for offer in newest_first), rule.mix, most)
    )
    while True:
        found = _filled(newest_first, fresh, replay, _Filling(rule, caps, most))
        fitting = _fitting(found.kept, rule, caps)
        if fitting == caps:
            return found
        caps = fitting


def _stale(offer: Offer, rule: CurationRule, now: float) -> bool:
    return rule.max_age_days is not None and now - offer.at > rule.max_age_days * DAY_S


@dataclass(frozen=True, slots=True)
class _Replay:
    """Positions of what may be replayed, in the order of the draw, and how many are wanted of them."""

    order: Sequence[int]
    wanted: int


def _replay(newest_first: Sequence[Offer], fresh: int, rule: CurationRule, most: int) -> _Replay:
    """The draw is another one as soon as there is a newer preference, so that in time all have their turn."""
    share = rule.replay_share
    wanted = math.floor(min(share * most, share / (1 - share) * fresh) + _ROUNDING)
    if not wanted:
        return _Replay((), 0)
    salt = f"replay:{newest_first[0].id}"
    seen = (at for at, offer in enumerate(newest_first) if offer.seen)
    return _Replay(sorted(seen, key=lambda at: unit(salt, str(newest_first[at].id))), wanted)


class _Filling:
    """A snapshot as it fills: takes an offer, or says why not."""

    def __init__(self, rule: CurationRule, caps: _Caps, most: int) -> None:
        self._rule = rule
        self._caps = caps
        self._most = most
        self._given: Counter[str] = Counter()
        self._topics: Counter[str] = Counter()
        self._with: defaultdict[str, list[int]] = defaultdict(list)
        self.size = 0

    def take(self, offer: Offer) -> Reason | None:
        """None where it is taken."""
        why = self._refusal(offer)
        if why is None:
            self._given[offer.contributor] += 1
            self._topics[offer.topic] += 1
            for number in offer.sketch:
                self._with[number].append(self.size)
            self.size += 1
        return why

    def _refusal(self, offer: Offer) -> Reason | None:
        # No number is on more than max_alike of those taken, so that this is a short look whatever they are.
        if len({taken for number in offer.sketch for taken in self._with[number]}) >= self._rule.max_alike:
            return Reason.ALIKE
        if self._given[offer.contributor] >= self._caps.contributor:
            return Reason.CONTRIBUTOR
        if self._topics[offer.topic] >= self._caps.topics.get(offer.topic, self._most):
            return Reason.TOPIC if offer.topic in self._caps.topics else Reason.LIMIT
        return Reason.LIMIT if self.size >= self._most else None


def _filled(
    newest_first: Sequence[Offer], fresh: Sequence[int], replay: _Replay, into: _Filling
) -> Selection:
    """Replay first, so that it has its place; then what is new, newest first."""
    kept: set[int] = set()
    left_out: Counter[Reason] = Counter()
    for at in replay.order:
        if into.size >= replay.wanted:
            break
        if into.take(newest_first[at]) is None:
            kept.add(at)
    stale = len(newest_first) - len(fresh) - len(kept.difference(fresh))
    left_out.update({Reason.STALE: stale} if stale else {})
    for at in fresh:
        if at in kept:
            continue
        why = into.take(newest_first[at])
        if why is None:
            kept.add(at)
        else:
            left_out[why] += 1
    return Selection(tuple(newest_first[at] for at in sorted(kept)), left_out)


def _fitting(kept: Sequence[Offer], rule: CurationRule, caps: _Caps) -> _Caps:
    """The caps, lowered to what they may be in a snapshot of these."""
    contributors = len({offer.contributor for offer in kept})
    contributor = contributor_cap(len(kept), contributors, rule)
    counts = Counter(offer.topic for offer in kept)
    topics = {} if rule.mix is None else _shared(counts, len(kept), rule.mix)
    lowered = {topic: min(most, caps.topics.get(topic, most)) for topic, most in topics.items()}
    return _Caps(min(contributor, caps.contributor), {**caps.topics, **lowered})


def contributor_cap(kept: int, contributors: int, rule: CurationRule) -> int:
    """Most pairs of one contributor in a snapshot of so many, by the two caps that are shares."""
    fair = rule.max_source_fair * kept / contributors if kept else 0.0
    return max(1, _whole(rule.max_source_share * kept), _whole(fair))


def _opening(counts: Mapping[str, int], mix: TopicMix | None, most: int) -> dict[str, int]:
    """No topic has more in any snapshot of these: the caps if nothing but the mix left pairs out.

    It takes no look at the pairs, of which there are many, where lowering the caps takes many turns.
    """
    if mix is None:
        return {}
    closed = {topic: 0 for topic, share in mix.shares.items() if share == 0}
    caps = {topic: count for topic, count in counts.items() if topic not in closed}
    while True:
        fitting = _shared(caps, min(most, sum(caps.values())), mix)
        lowered = {topic: min(cap, fitting[topic]) for topic, cap in caps.items()}
        if lowered == caps:
            return {**caps, **closed}
        caps = lowered


def _shared(topics: Iterable[str], total: int, mix: TopicMix) -> dict[str, int]:
    """Most pairs of each of these topics in a snapshot of so many.

    Where the topics' shares do not make a whole, they are scaled up to one: otherwise only the empty snapshot
    would fit.
    """
    shares = {topic: mix.shares.get(topic, mix.most) for topic in topics}
    scale = max(1.0, sum(shares.values())) / sum(shares.values()) if shares else 1.0
    return {topic: max(1, _whole(share * scale * total)) for topic, share in shares.items()}


def _whole(value: float) -> int:
    return math.floor(value + _ROUNDING)
