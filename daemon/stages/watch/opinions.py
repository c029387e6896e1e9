"""What users think of the answers, as gauges: how many say so, of what kind, for the answer or against it."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.metrics.registry import SERVED, Metrics
from daemon.store import opinions, rollouts
from policies.feedback import FeedbackKind, Remark
from policies.policy import PolicySpec
from policies.recipes import KtoRecipe
from policies.rollout import Assignment
from policies.thumbs import counts_as
from policies.worth import Sign, sign

REFRESHED_S = 60.0
"""Every answer that somebody said something of is read."""


@dataclass(frozen=True, slots=True)
class Opinions:
    """Of the newest answers: how many there are by slot, and how many have feedback of a kind and a sign."""

    answers: Counter[str]
    told: Counter[tuple[str, str, str]]


class Listening:
    """Shows what users think. Used by one thread at a time."""

    def __init__(self, *, clock: Clock, metrics: Metrics, spec: PolicySpec) -> None:
        self._clock, self._metrics, self._rule = clock, metrics, spec.feedback
        recipe = spec.recipe_of("kto")
        assert isinstance(recipe, KtoRecipe)
        self._recipe = recipe
        self._at = float("-inf")

    def look(self, connection: Connection) -> Opinions | None:
        """The newest answers, at most once a minute; None: it is too early."""
        if self._clock.monotonic() - self._at < REFRESHED_S:
            return None
        self._at = self._clock.monotonic()
        assignment = rollouts.in_force(connection)
        answers: Counter[str] = Counter()
        for adapter, count in opinions.looked_at(connection).items():
            answers[slot_of(adapter, assignment)] += count
        told: Counter[tuple[str, str, str]] = Counter()
        for adapter, said in opinions.told(connection):
            slot = slot_of(adapter, assignment)
            told.update((kind, each, slot) for kind, each in {self._read(one) for one in said})
        return Opinions(answers, told)

    def show(self, found: Opinions | None) -> None:
        """Sets the gauges; what nobody says any more is 0."""
        if found is None:
            return
        for slot in SERVED:
            self._metrics.feedback_looked_at.labels(slot).set(found.answers[slot])
            for kind in FeedbackKind:
                for each in Sign:
                    count = found.told[kind.value, each.value, slot]
                    self._metrics.feedback.labels(kind.value, each.value, slot).set(count)

    def _read(self, told: Remark) -> tuple[str, str]:
        kind = counts_as(told, self._recipe)
        said = sign(kind, told.said, self._rule, up_from=self._recipe.thumb_up_from)
        return kind.value, said.value


def slot_of(adapter: str, assignment: Assignment) -> str:
    """Which place an adapter has in what is in force ('' is the base model)."""
    if adapter == (assignment.stable or ""):
        return "stable"
    return "canary" if assignment.canary is not None and adapter == assignment.canary else "other"
