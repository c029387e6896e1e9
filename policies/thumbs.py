"""Which stored answers are learned from by themselves, as good or as bad, and why others are not.

A user's thumb is what the log's feedback says under the recipe's names; a judge's score is good or bad at the
ends of the scale, and says nothing between them. Only the train split is ever offered.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from policies.answers import Answer, Kind, rank
from policies.prompts import MAX_ANSWER
from policies.recipes import KtoRecipe, SftRecipe
from policies.records import Feedback, Message, Tokens, text_of

UP = frozenset({"up", "thumbs_up", "thumb_up", "positive", "good", "like", "👍"})
DOWN = frozenset({"down", "thumbs_down", "thumb_down", "negative", "bad", "dislike", "👎"})
"""Labels of feedback that has no score."""


class Why(StrEnum):
    """Why an answer that was offered is not learned from."""

    CONTRADICTORY = "contradictory"
    """Its thumbs are up and down."""
    UNREADABLE = "unreadable"
    """Its thumb has neither a score nor a known label."""
    MIDDLING = "middling"
    """Its score is between bad and good."""
    LOW_REWARD = "low_reward"
    """It is the best of its prompt's answers, and none is good enough."""
    CUT_OFF = "cut_off"
    """It is good as far as it goes: its end would be taught."""
    SEEN_IN_PART = "seen_in_part"
    """The judges did not see all of it."""
    REVISED = "revised"
    """A later revision of the event, or a thumb beside the score, says it better."""
    NOT_BEST = "not_best"
    """Another answer to the same prompt is the target."""
    CAPPED = "capped"
    """Its contributor has given as many as one may, or the snapshot is full."""


TOLD = {
    Why.CONTRADICTORY: "with thumbs up and down",
    Why.UNREADABLE: "whose thumb has neither a score nor a known label",
    Why.MIDDLING: "scored between policy.recipe.bad_to and good_from",
    Why.LOW_REWARD: "below policy.recipe.min_reward",
    Why.CUT_OFF: "cut off by a limit of length",
    Why.SEEN_IN_PART: "that judges saw in part",
    Why.REVISED: "that another revision or a thumb replaces",
    Why.NOT_BEST: "beside a better one to the same prompt",
    Why.CAPPED: "left out by policy.curation's caps",
}


def told(left_out: Mapping[Why, int]) -> str:
    """The counts as text; "" where nothing is left out."""
    return ", ".join(f"{left_out[why]} {said}" for why, said in TOLD.items() if left_out.get(why))


@dataclass(frozen=True, slots=True)
class Offered:
    """A stored answer, as far as it can be learned from. `event` is the log's, the same for all revisions.

    `reward` is a judge's (0 to 10) where `kind` is `best` or `score`, `feedback` the log's for a `thumb`.
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


@dataclass(frozen=True, slots=True)
class Learned:
    """An answer to learn from, with who is counted for the cap on one source."""

    answer: Answer
    contributor: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """What can be learned from, in the order it was offered, and how many cannot, by why."""

    learned: tuple[Learned, ...]
    left_out: Mapping[Why, int] = field(default_factory=dict)


def thumb(feedback: Sequence[Feedback], recipe: KtoRecipe) -> bool | Why:
    """Whether a user's thumbs are up, or why nobody can tell. There must be one under the recipe's names."""
    ups = {_up(each, recipe) for each in feedback if each.name in recipe.feedback}
    if {True, False} <= ups:
        return Why.CONTRADICTORY
    known = ups - {None}
    if len(known) != 1:
        return Why.UNREADABLE
    return known.pop() is True


def _up(feedback: Feedback, recipe: KtoRecipe) -> bool | None:
    if feedback.score is not None:
        return feedback.score >= recipe.thumb_up_from
    label = (feedback.label or "").strip().casefold()
    return True if label in UP else False if label in DOWN else None


def judged(offers: Sequence[Offered], recipe: KtoRecipe) -> Gathered:
    """Thumbs and scores as answers that are good or bad. A thumb goes before a score of the same answer, and
    the first offer of an event before others.
    """
    left_out: Counter[Why] = Counter()
    learned: list[Learned] = []
    said: set[object] = set()
    for offer in sorted(offers, key=lambda each: each.kind != "thumb"):
        keys = {offer.candidate, offer.event} if offer.kind == "thumb" else {offer.candidate}
        found = Why.REVISED if said & keys else _judged(offer, recipe)
        said |= keys
        if isinstance(found, Why):
            left_out[found] += 1
        else:
            learned.append(Learned(found, offer.contributor))
    return Gathered(tuple(learned), left_out)


def _judged(offer: Offered, recipe: KtoRecipe) -> Answer | Why:
    if offer.kind == "thumb":
        good = thumb(offer.feedback, recipe)
        weight = recipe.thumb_weight
    else:
        good = _scored(offer, recipe)
        weight = recipe.score_weight
    if isinstance(good, Why):
        return good
    if good and offer.truncated:
        return Why.CUT_OFF
    return _answer(offer, good=good, weight=weight)


def _scored(offer: Offered, recipe: KtoRecipe) -> bool | Why:
    if len(text_of(offer.answer)) > MAX_ANSWER:
        return Why.SEEN_IN_PART
    assert offer.reward is not None
    if recipe.bad_to < offer.reward < recipe.good_from:
        return Why.MIDDLING
    return offer.reward >= recipe.good_from


def targets(offers: Sequence[Offered], recipe: SftRecipe) -> Gathered:
    """Answers to imitate, one a prompt: a person's text first, then the highest reward."""
    left_out: Counter[Why] = Counter()
    chosen: dict[str, tuple[Answer, Offered]] = {}
    for offer in offers:
        found = _target(offer, recipe)
        if isinstance(found, Why):
            left_out[found] += 1
            continue
        before = chosen.get(found.asked)
        if before is not None:
            left_out[Why.NOT_BEST] += 1
        if before is None or rank(found) > rank(before[0]):
            chosen[found.asked] = found, offer
    return Gathered(tuple(Learned(answer, offer.contributor) for answer, offer in chosen.values()), left_out)


def _target(offer: Offered, recipe: SftRecipe) -> Answer | Why:
    if offer.truncated:
        return Why.CUT_OFF
    if offer.kind == "correction":
        return _answer(offer, good=True, weight=recipe.correction_weight)
    if offer.reward is not None and offer.reward < recipe.min_reward:
        return Why.LOW_REWARD
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
