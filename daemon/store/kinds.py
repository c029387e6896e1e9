"""The kinds of snapshots, and which of them a policy's recipe learns from: pairs, with or without those that
people labelled, answers one by one, or prompts.

Whoever drafts, counts or writes what a run is to learn from asks here, and names no method.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection

from daemon.store import answers as stored
from daemon.store import fitpairs, preferences, prompted, snapshots
from daemon.store.singles import StoredSingles
from daemon.store.sketches import Sketches
from daemon.store.snapshots import Held, StoredSnapshot
from daemon.store.store import Store
from policies import answers, snapshot
from policies import prompted as prompts
from policies.answers import Answer
from policies.policy import PolicySpec
from policies.recipes import KtoRecipe, PpoRecipe, Recipe, RewardRecipe, SftRecipe
from policies.selection import Reason
from policies.thumbs import Gathered, offers_of, reads
from policies.votes import Settled


@dataclass(frozen=True, slots=True)
class Draft:
    """What a snapshot would hold: ids in the order of the file, and what is left out.

    The ids are those of preferences; of a snapshot of `answers` those of these, in the same order; of one of
    prompts those of events. `labelled` pairs come after preferences.
    """

    ids: tuple[int, ...]
    left_out: Mapping[Reason, int]
    answers: tuple[Answer, ...] = field(default=(), repr=False)
    labelled: tuple[Settled, ...] = field(default=(), repr=False)

    @property
    def labels(self) -> tuple[int, ...]:
        """The ids of the labels on the labelled pairs."""
        return tuple(sorted(label for each in self.labelled for label in each.labels))


class Kind(Protocol):
    """What a snapshot holds."""

    @property
    def unit(self) -> str:
        """What it holds, in the plural."""

    @property
    def made_of(self) -> str:
        """What is stored for it, in the plural."""

    @property
    def nothing(self) -> str:
        """That there is none of it, in words."""

    @property
    def one(self) -> str:
        """One of what is stored for it."""

    @property
    def rivals(self) -> bool:
        """Whether it takes a second answer to a prompt, which the stages have sampled and judged."""

    def gave(self, connection: Connection, events: Sequence[int], found: Gathered) -> int:
        """How many of these train events gave something of what was found."""

    def found(self, connection: Connection, *, most: int, replayed: bool = True) -> Gathered:
        """What of the newest `most` may be in one, newest first, before any cap; with what may be replayed,
        unless nothing is to be.
        """

    def newest(self, connection: Connection) -> Hashable:
        """Another value as soon as there is more to find."""

    def since(self, connection: Connection, at: float | None, *, most: int) -> int:
        """How much was stored after `at` (None: ever); beyond `most` nobody counts on."""

    def write(self, store: Store, draft: Draft, directory: Path) -> tuple[str, Path]:
        """Writes the file, durably; returns (id, path)."""

    def held(self, draft: Draft) -> Held:
        """What the row says it holds."""

    def same(self, stored: StoredSnapshot, draft: Draft) -> bool:
        """Whether a stored snapshot is of this kind and holds the same."""


class Pairs:
    """Preferences, of which each is a pair of answers."""

    unit = "pairs"
    made_of = "preferences"
    one = "a preference"
    nothing = "no preference is stored"
    rivals = True

    def __init__(self, spec: PolicySpec) -> None:
        self._spec = spec

    def found(self, connection: Connection, *, most: int, replayed: bool = True) -> Gathered:
        """The newest preferences, and those that runs learned from."""
        rule = self._spec.curation
        offers = preferences.newest(
            connection,
            limit=most,
            tag=None if rule.mix is None else rule.mix.tag,
            learned=snapshots.learned(connection) if replayed and rule.replay_share else (),
        )
        return Gathered(offers=tuple(offers))

    def gave(self, connection: Connection, events: Sequence[int], found: Gathered) -> int:
        """Those of which a preference is stored."""
        del found
        return preferences.giving(connection, events)

    def newest(self, connection: Connection) -> Hashable:
        """The newest preference."""
        return preferences.newest_id(connection)

    def since(self, connection: Connection, at: float | None, *, most: int) -> int:
        """Preferences."""
        return preferences.since(connection, at, most=most)

    def write(self, store: Store, draft: Draft, directory: Path) -> tuple[str, Path]:
        """The draft's pairs, in its order."""
        pairs = store.read(lambda c: preferences.pairs(c, draft.ids))
        return snapshot.write(directory, self._spec.name, pairs)

    def held(self, draft: Draft) -> Held:
        """Preferences."""
        return Held(draft.ids)

    def same(self, stored: StoredSnapshot, draft: Draft) -> bool:
        """In whatever order."""
        return stored.of_pairs and set(stored.preference_ids) == set(draft.ids)


class LabelledPairs(Pairs):
    """Preferences, and beside them the pairs of the train and the calibrate split that people labelled."""

    made_of = "preferences and labels"
    nothing = "no preference and no label of a train or calibrate prompt is stored"

    def __init__(self, spec: PolicySpec, recipe: RewardRecipe) -> None:
        super().__init__(spec)
        self._weight = recipe.label_weight

    def found(self, connection: Connection, *, most: int, replayed: bool = True) -> Gathered:
        """Preferences on the very answers that people labelled give way to the labels."""
        found = super().found(connection, most=most, replayed=replayed)
        if not self._weight:
            return found
        people = fitpairs.labelled(connection)
        judged = fitpairs.preferred(connection, people.pairs)
        offers = tuple(offer for offer in found.offers if offer.id not in judged)
        replaced = len(found.offers) - len(offers)
        left_out = {**people.left_out, **({Reason.LABELLED: replaced} if replaced else {})}
        return Gathered(offers, left_out, labelled=people.pairs)

    def newest(self, connection: Connection) -> Hashable:
        """The newest preference, and the newest label."""
        return super().newest(connection), fitpairs.newest(connection)

    def since(self, connection: Connection, at: float | None, *, most: int) -> int:
        """Preferences and labels."""
        labels = fitpairs.since(connection, at, most=most) if self._weight else 0
        return super().since(connection, at, most=most) + labels

    def write(self, store: Store, draft: Draft, directory: Path) -> tuple[str, Path]:
        """The preferences of the draft, and then its labelled pairs."""

        def read(connection: Connection) -> list[snapshot.Pair]:
            people = fitpairs.written(connection, draft.labelled, weight=self._weight)
            return [*preferences.pairs(connection, draft.ids), *people]

        return snapshot.write(directory, self._spec.name, store.read(read))

    def held(self, draft: Draft) -> Held:
        """Preferences and labels. Without labels it is the same snapshot as others have of the pairs."""
        if not draft.labelled:
            return Held(draft.ids)
        return Held(draft.ids, label_ids=draft.labels, labelled=len(draft.labelled))

    def same(self, stored: StoredSnapshot, draft: Draft) -> bool:
        """In whatever order."""
        return super().same(stored, draft) and (stored.label_ids or ()) == draft.labels


class LoggedAnswers:
    """Answers that were found good or bad one by one."""

    unit = made_of = "answers"
    one = "an answer to learn from"
    nothing = "no answer is stored"

    def __init__(self, spec: PolicySpec, recipe: SftRecipe | KtoRecipe) -> None:
        self._spec = spec
        self._method = recipe.method
        self._singles = StoredSingles(recipe, spec.feedback)
        self._sketches = Sketches(spec.curation)

    def found(self, connection: Connection, *, most: int, replayed: bool = True) -> Gathered:
        """By the recipe, the newest and those that runs by its method learned from."""
        rule = self._spec.curation
        learned: Collection[int] = ()
        if replayed and rule.replay_share:
            learned = snapshots.learned(connection, "candidate_ids", method=self._method)
        found = self._singles.found(connection, most=most, learned=learned)
        offered = {each.answer.candidate: each.offered for each in found.learned}
        self._sketches.look(list(offered), lambda some: {each: reads(offered[each]) for each in some})
        return offers_of(
            found,
            tag=None if rule.mix is None else rule.mix.tag,
            seen=learned,
            sketch=lambda offer: self._sketches.of(offer.candidate),
        )

    @property
    def rivals(self) -> bool:
        """The best of several answers takes several; thumbs, scores and corrections are of any answer."""
        return self._singles.sources == ("best",)

    def gave(self, connection: Connection, events: Sequence[int], found: Gathered) -> int:
        """Those with an answer among them."""
        return stored.giving(connection, events, found.answers.keys())

    def newest(self, connection: Connection) -> Hashable:
        """The newest of each of the recipe's sources."""
        return self._singles.newest(connection)

    def since(self, connection: Connection, at: float | None, *, most: int) -> int:
        """What came in by the recipe's sources."""
        return self._singles.since(connection, at, most=most)

    def write(self, store: Store, draft: Draft, directory: Path) -> tuple[str, Path]:
        """The draft's answers."""
        del store
        return answers.write(directory, self._spec.name, draft.answers)

    def held(self, draft: Draft) -> Held:
        """Candidates."""
        return Held(candidate_ids=draft.ids)

    def same(self, stored: StoredSnapshot, draft: Draft) -> bool:
        """In whatever order."""
        return stored.candidate_ids is not None and set(stored.candidate_ids) == set(draft.ids)


class LoggedPrompts:
    """Prompts of the traffic, each once, to be answered anew."""

    unit = made_of = "prompts"
    one = "a prompt"
    nothing = "no prompt of the train split is stored"
    rivals = False

    def __init__(self, spec: PolicySpec) -> None:
        self._spec = spec
        self._sketches = Sketches(spec.curation)

    def found(self, connection: Connection, *, most: int, replayed: bool = True) -> Gathered:
        """The newest of each cluster, and those that runs by PPO learned from."""
        rule = self._spec.curation
        learned: Collection[int] = ()
        if replayed and rule.replay_share:
            learned = snapshots.learned(connection, "trace_ids", method="ppo")
        offers, left_out = prompted.newest(
            connection, limit=most, tag=None if rule.mix is None else rule.mix.tag, learned=learned
        )
        self._sketches.look(
            [offer.id for offer in offers], lambda some: preferences.prompts(connection, some)
        )
        told = tuple(replace(offer, sketch=self._sketches.of(offer.id)) for offer in offers)
        return Gathered(told, left_out)

    def gave(self, connection: Connection, events: Sequence[int], found: Gathered) -> int:
        """Those that stand for their cluster."""
        del connection
        return len(set(events).intersection(offer.id for offer in found.offers))

    def newest(self, connection: Connection) -> Hashable:
        """The newest event."""
        return prompted.newest_id(connection)

    def since(self, connection: Connection, at: float | None, *, most: int) -> int:
        """Events of the train split."""
        return prompted.since(connection, at, most=most)

    def write(self, store: Store, draft: Draft, directory: Path) -> tuple[str, Path]:
        """The draft's prompts with the answers to them."""
        found = store.read(lambda c: prompted.written(c, draft.ids))
        return prompts.write(directory, self._spec.name, found)

    def held(self, draft: Draft) -> Held:
        """Events."""
        return Held(trace_ids=draft.ids)

    def same(self, stored: StoredSnapshot, draft: Draft) -> bool:
        """In whatever order."""
        return stored.trace_ids is not None and set(stored.trace_ids) == set(draft.ids)


def grouped(recipes: Sequence[Recipe]) -> list[tuple[Recipe, ...]]:
    """The recipes by the kind that they learn from, in their order: each by itself but those that learn from
    preferences alone.
    """
    groups: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        own = isinstance(recipe, SftRecipe | KtoRecipe | PpoRecipe | RewardRecipe)
        groups.setdefault(recipe.method if own else Pairs.unit, []).append(recipe)
    return [tuple(group) for group in groups.values()]


def kind_of(spec: PolicySpec, recipe: Recipe | None = None) -> Kind:
    """The kind that the recipe learns from; None: the policy's first."""
    recipe = recipe or spec.recipe
    if isinstance(recipe, SftRecipe | KtoRecipe):
        return LoggedAnswers(spec, recipe)
    if isinstance(recipe, RewardRecipe):
        return LabelledPairs(spec, recipe)
    return LoggedPrompts(spec) if isinstance(recipe, PpoRecipe) else Pairs(spec)


def ids_of(given: Sequence[Answer]) -> tuple[int, ...]:
    """The candidates of answers."""
    return tuple(answer.candidate for answer in given)
