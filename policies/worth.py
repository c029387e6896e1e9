"""What feedback is worth, by kind, and whether it speaks for an answer or against it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from policies.configured import Configured, Seconds, misfit
from policies.feedback import BEHAVIOUR, CORRECTING, FeedbackKind
from policies.records import Feedback

UP = frozenset({"up", "thumbs_up", "thumb_up", "positive", "good", "like", "👍"})
DOWN = frozenset({"down", "thumbs_down", "thumb_down", "negative", "bad", "dislike", "👎"})
"""Labels of feedback that has no score."""
Weight = Annotated[float, Field(ge=0, le=1000)]


WEIGHTS: Mapping[FeedbackKind, float] = {
    FeedbackKind.THUMB: 1.0,
    FeedbackKind.RATING: 0.5,
    FeedbackKind.EDIT: 1.0,
    FeedbackKind.CORRECTION: 1.0,
    **dict.fromkeys(BEHAVIOUR, 0.0),
}
"""Those of kinds that the configuration does not name."""


def _all_kinds(named: dict[FeedbackKind, float]) -> dict[FeedbackKind, float]:
    if FeedbackKind.OTHER in named:
        raise ValueError("other is no kind that can be learned from: take it away")
    return {**WEIGHTS, **named}


Weights = Annotated[dict[FeedbackKind, Weight], AfterValidator(_all_kinds)]


class FeedbackRule(Configured):
    """How feedback is read, and what it is worth. It trains at most: it is no label, and resumes nothing."""

    weights: Weights = Field(default_factory=lambda: dict(WEIGHTS))
    """What an example is worth by the kind of feedback that it comes from; 0: it is not learned from. A
    recipe's own weights are multiplied with it."""
    rating_good_from: float = Field(default=4.0, ge=-1e6, le=1e6)
    rating_bad_to: float = Field(default=2.0, ge=-1e6, le=1e6)
    """A rating between the two says nothing."""
    sessions: bool = True
    """Whether retries and rephrasings are looked for in the log's sessions."""
    again_within_s: Seconds = 600.0
    """How soon after an answer something must be asked again to be about it."""

    @model_validator(mode="after")
    def _apart(self) -> "FeedbackRule":
        if self.rating_bad_to >= self.rating_good_from:
            raise misfit(
                "rating_bad_to",
                f"{self.rating_bad_to:g} must be below rating_good_from ({self.rating_good_from:g})",
            )
        return self


class Sign(StrEnum):
    """What feedback says of an answer."""

    FOR = "for"
    AGAINST = "against"
    UNCLEAR = "unclear"


def up(said: Feedback, *, up_from: float) -> bool | None:
    """Whether a thumb is up: by its score, else by its label. None: neither says it."""
    if said.score is not None:
        return said.score >= up_from
    label = (said.label or "").strip().casefold()
    return True if label in UP else False if label in DOWN else None


def speaks_for(kind: FeedbackKind, said: Feedback, rule: FeedbackRule, *, up_from: float) -> bool | None:
    """Whether feedback speaks for the answer (True), against it, or does not say. A thumb with a score is up
    from `up_from`.

    A correction, a retry, a rephrasing and an abandoned session speak against it, a copy for it.
    """
    if kind is FeedbackKind.THUMB:
        return up(said, up_from=up_from)
    if kind is FeedbackKind.RATING:
        if said.score is None or rule.rating_bad_to < said.score < rule.rating_good_from:
            return None
        return said.score >= rule.rating_good_from
    if kind in CORRECTING or kind in (FeedbackKind.RETRY, FeedbackKind.REPHRASE, FeedbackKind.ABANDON):
        return False
    return True if kind is FeedbackKind.COPY else None


def sign(kind: FeedbackKind, said: Feedback, rule: FeedbackRule, *, up_from: float) -> Sign:
    """The same in one word."""
    good = speaks_for(kind, said, rule, up_from=up_from)
    return Sign.UNCLEAR if good is None else Sign.FOR if good else Sign.AGAINST
