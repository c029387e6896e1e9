"""Which stored answers are learned from by themselves, as good or as bad, and why others are not.

What users said is joined from the log and from events of its own; a judge's score is good or bad at the ends
of the scale, and says nothing between them. Only the train split is ever offered.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from policies.answers import Answer, Kind, rank
from policies.clusters import said
from policies.feedback import BEHAVIOUR, FeedbackKind, Remark
from policies.judging.prompts import MAX_ANSWER
from policies.likeness import Sketch
from policies.recipes import KtoRecipe, SftRecipe
from policies.records import Message, Tokens, text_of
from policies.selection import Offer, Reason
from policies.votes import Settled
from policies.worth import FeedbackRule, speaks_for, up


@dataclass(frozen=True, slots=True)
class Offered:
    """A stored answer, as far as it can be learned from. `event` is the log's, the same for all revisions.

    `reward` is a judge's (0 to 10) where `kind` is `best` or `score`, `told` what users said for a `thumb`.
    `weight` is what the kind of feedback behind a `correction` is worth.
    `at` is when the event was, in seconds since the epoch, `tags` what it says of itself.
    """

    kind: Kind
    candidate: int
    event: str
    contributor: str
    prompt: tuple[Message, ...]
    answer: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    tokens: Tokens | None = None
    truncated: bool = False
    reward: float | None = None
    told: tuple[Remark, ...] = ()
    weight: float = 1.0
    at: float = 0.0
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Learned:
    """An answer to learn from, and what it was offered as."""

    answer: Answer
    offered: Offered


@dataclass(frozen=True, slots=True)
class Learnable:
    """What can be learned from, in the order it was offered, and how many cannot, by why."""

    learned: tuple[Learned, ...]
    left_out: Mapping[Reason, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the caps choose from, newest first, and what is left out before them, by why.

    `answers` are those offered by themselves, by their numbers. `labelled` pairs go in beside the offers,
    under no cap: people chose them, and who labels is known.
    """

    offers: tuple[Offer, ...]
    left_out: Mapping[Reason, int] = field(default_factory=dict)
    answers: Mapping[int, Answer] = field(default_factory=dict)
    labelled: tuple[Settled, ...] = ()

    @property
    def stored(self) -> int:
        """How many were looked at."""
        return len(self.offers) + sum(self.left_out.values())


def offers_of(
    found: Learnable,
    *,
    tag: str | None,
    seen: Collection[int] = (),
    sketch: Callable[[Offered], Sketch] | None = None,
) -> Gathered:
    """Answers as the caps have them: by contributor, age, topic, which is what an event says under `tag`, and
    what they read like (None: nobody asks). `seen` are the numbers of those that a run learned from.
    """
    offers = tuple(
        Offer(
            each.offered.contributor,
            id=each.answer.candidate,
            at=each.offered.at,
            topic="" if tag is None else each.offered.tags.get(tag, ""),
            sketch=() if sketch is None else sketch(each.offered),
            seen=each.answer.candidate in seen,
        )
        for each in found.learned
    )
    return Gathered(offers, found.left_out, {each.answer.candidate: each.answer for each in found.learned})


def reads(offer: Offered) -> tuple[str, ...]:
    """Prompt, without the system's part, and answer, turn by turn: what near-copies are told by."""
    return (*(said(turn) for turn in offer.prompt if turn.role != "system"), text_of(offer.answer))


def thumb(told: Sequence[Remark], recipe: KtoRecipe) -> bool | Reason:
    """Whether a user's thumbs are up, or why nobody can tell. Thumbs are such by their kind, or by one of the
    recipe's names; there must be one.
    """
    return _agreed(up(each.said, up_from=recipe.thumb_up_from) for each in told if is_thumb(each, recipe))


def is_thumb(told: Remark, recipe: KtoRecipe) -> bool:
    """Whether the recipe takes it for a thumb."""
    return told.kind is FeedbackKind.THUMB or told.said.name in recipe.feedback


def _agreed(ups: Iterable[bool | None]) -> bool | Reason:
    known = set(ups) - {None}
    if len(known) > 1:
        return Reason.CONTRADICTORY
    return known.pop() is True if known else Reason.UNREADABLE


def opinion(
    told: Sequence[Remark], recipe: KtoRecipe, rule: FeedbackRule
) -> tuple[FeedbackKind, bool] | Reason:
    """Whether users found an answer good, by which kind of feedback; or why nobody can tell.

    One kind decides and the others add nothing to it: thumbs, else ratings, else what users did. A kind
    without weight decides nothing.
    """
    found: Reason = Reason.UNREADABLE
    for kind in (FeedbackKind.THUMB, FeedbackKind.RATING, *BEHAVIOUR):
        mine = [each for each in told if counts_as(each, recipe) is kind]
        if not mine or not rule.weights[kind]:
            continue
        ups = (speaks_for(kind, each.said, rule, up_from=recipe.thumb_up_from) for each in mine)
        good = _agreed(ups)
        if not isinstance(good, Reason):
            return kind, good
        if good is Reason.CONTRADICTORY:
            return good
        found = Reason.MIDDLING if kind is FeedbackKind.RATING else found
    return found


def counts_as(told: Remark, recipe: KtoRecipe) -> FeedbackKind:
    """The kind that it is of, for the recipe."""
    return FeedbackKind.THUMB if is_thumb(told, recipe) else told.kind


def judged(offers: Sequence[Offered], recipe: KtoRecipe, rule: FeedbackRule | None = None) -> Learnable:
    """What users said and judges' scores as answers that are good or bad, by the policy's `rule`. What users
    said goes before a score of the same answer, and the first offer of an event before others.
    """
    rule = rule or FeedbackRule()
    left_out: Counter[Reason] = Counter()
    learned: list[Learned] = []
    heard: set[object] = set()
    for offer in sorted(offers, key=lambda each: each.kind != "thumb"):
        keys = {offer.candidate, offer.event} if offer.kind == "thumb" else {offer.candidate}
        found = Reason.REVISED if heard & keys else _judged(offer, recipe, rule)
        heard |= keys
        if isinstance(found, Reason):
            left_out[found] += 1
        else:
            learned.append(Learned(found, offer))
    return Learnable(tuple(learned), left_out)


def _judged(offer: Offered, recipe: KtoRecipe, rule: FeedbackRule) -> Answer | Reason:
    kind: Kind = offer.kind
    if offer.kind == "thumb":
        found = opinion(offer.told, recipe, rule)
        if isinstance(found, Reason):
            return found
        said, good = found
        kind, weight = _AS.get(said, "behaviour"), recipe.thumb_weight * rule.weights[said]
    else:
        scored = _scored(offer, recipe)
        if isinstance(scored, Reason):
            return scored
        good, weight = scored, recipe.score_weight
    if good and offer.truncated:
        return Reason.CUT_OFF
    return _answer(offer, good=good, weight=weight, kind=kind)


_AS: Mapping[FeedbackKind, Kind] = {FeedbackKind.THUMB: "thumb", FeedbackKind.RATING: "rating"}


def _scored(offer: Offered, recipe: KtoRecipe) -> bool | Reason:
    if len(text_of(offer.answer)) > MAX_ANSWER:
        return Reason.SEEN_IN_PART
    assert offer.reward is not None
    if recipe.bad_to < offer.reward < recipe.good_from:
        return Reason.MIDDLING
    return offer.reward >= recipe.good_from


def targets(offers: Sequence[Offered], recipe: SftRecipe) -> Learnable:
    """Answers to imitate, one a prompt: a person's text first, then the highest reward."""
    left_out: Counter[Reason] = Counter()
    chosen: dict[str, tuple[Answer, Offered]] = {}
    for offer in offers:
        found = _target(offer, recipe)
        if isinstance(found, Reason):
            left_out[found] += 1
            continue
        before = chosen.get(found.asked)
        if before is not None:
            left_out[Reason.NOT_BEST] += 1
        if before is None or rank(found) > rank(before[0]):
            chosen[found.asked] = found, offer
    return Learnable(tuple(Learned(answer, offer) for answer, offer in chosen.values()), left_out)


def _target(offer: Offered, recipe: SftRecipe) -> Answer | Reason:
    if offer.truncated:
        return Reason.CUT_OFF
    if offer.kind == "correction":
        return _answer(offer, good=True, weight=recipe.correction_weight * offer.weight)
    if offer.reward is not None and offer.reward < recipe.min_reward:
        return Reason.LOW_REWARD
    return _answer(offer, good=True, weight=1.0)


def _answer(offer: Offered, *, good: bool, weight: float, kind: Kind | None = None) -> Answer:
    return Answer(
        kind=kind or offer.kind,
        candidate=offer.candidate,
        prompt=offer.prompt,
        answer=offer.answer,
        good=good,
        weight=weight,
        reward=offer.reward,
        tools=offer.tools,
        tokens=offer.tokens,
        truncated=offer.truncated,
    )
