"""Which stored answers are learned from by themselves, as good or as bad, and why others are not.

A user's thumb is what the log's feedback says under the recipe's names; a judge's score is good or bad at the
ends of the scale, and says nothing between them. Only the train split is ever offered.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from policies.answers import Answer, Kind, rank
from policies.clusters import said
from policies.judging.prompts import MAX_ANSWER
from policies.likeness import Sketch
from policies.recipes import KtoRecipe, SftRecipe
from policies.records import Feedback, Message, Tokens, text_of
from policies.selection import Offer, Reason
from policies.votes import Settled

UP = frozenset({"up", "thumbs_up", "thumb_up", "positive", "good", "like", "👍"})
DOWN = frozenset({"down", "thumbs_down", "thumb_down", "negative", "bad", "dislike", "👎"})
"""Labels of feedback that has no score."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A stored answer, as far as it can be learned from. `event` is the log's, the same for all revisions.

    `reward` is a judge's (0 to 10) where `kind` is `best` or `score`, `feedback` the log's for a `thumb`.
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
    feedback: tuple[Feedback, ...] = ()
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


def thumb(feedback: Sequence[Feedback], recipe: KtoRecipe) -> bool | Reason:
    """Whether a user's thumbs are up, or why nobody can tell. There must be one under the recipe's names."""
    ups = {_up(each, recipe) for each in feedback if each.name in recipe.feedback}
    if {True, False} <= ups:
        return Reason.CONTRADICTORY
    known = ups - {None}
    if len(known) != 1:
        return Reason.UNREADABLE
    return known.pop() is True


def _up(feedback: Feedback, recipe: KtoRecipe) -> bool | None:
    if feedback.score is not None:
        return feedback.score >= recipe.thumb_up_from
    label = (feedback.label or "").strip().casefold()
    return True if label in UP else False if label in DOWN else None


def judged(offers: Sequence[Offered], recipe: KtoRecipe) -> Learnable:
    """Thumbs and scores as answers that are good or bad. A thumb goes before a score of the same answer, and
    the first offer of an event before others.
    """
    left_out: Counter[Reason] = Counter()
    learned: list[Learned] = []
    heard: set[object] = set()
    for offer in sorted(offers, key=lambda each: each.kind != "thumb"):
        keys = {offer.candidate, offer.event} if offer.kind == "thumb" else {offer.candidate}
        found = Reason.REVISED if heard & keys else _judged(offer, recipe)
        heard |= keys
        if isinstance(found, Reason):
            left_out[found] += 1
        else:
            learned.append(Learned(found, offer))
    return Learnable(tuple(learned), left_out)


def _judged(offer: Offered, recipe: KtoRecipe) -> Answer | Reason:
    if offer.kind == "thumb":
        good = thumb(offer.feedback, recipe)
        weight = recipe.thumb_weight
    else:
        good = _scored(offer, recipe)
        weight = recipe.score_weight
    if isinstance(good, Reason):
        return good
    if good and offer.truncated:
        return Reason.CUT_OFF
    return _answer(offer, good=good, weight=weight)


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
        return _answer(offer, good=True, weight=recipe.correction_weight)
    if offer.reward is not None and offer.reward < recipe.min_reward:
        return Reason.LOW_REWARD
    return _answer(offer, good=True, weight=1.0)


def _answer(offer: Offered, *, good: bool, weight: float) -> Answer:
    return Answer(
        kind=offer.kind,
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
