"""The kinds of snapshots, and which of them a policy's recipe learns from: pairs, or answers one by one.

Whoever drafts, counts or writes what a run is to learn from asks here, and names no method.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection

from daemon.store import preferences, snapshots
from daemon.store.singles import Singles
from daemon.store.snapshots import Held, StoredSnapshot
from daemon.store.store import Store
from policies import answers, snapshot
from policies.answers import Answer
from policies.policy import PolicySpec
from policies.recipes import KtoRecipe, Recipe, SftRecipe
from policies.selection import Reason
from policies.thumbs import Gathered, offers_of


@dataclass(frozen=True, slots=True)
class Draft:
    """What a snapshot would hold: ids in the order of the file, and what is left out.

    The ids are those of preferences; of a snapshot of `answers` those of these, in the same order.
    """

    ids: tuple[int, ...]
    left_out: Mapping[Reason, int]
    answers: tuple[Answer, ...] = field(default=(), repr=False)


class Kind(Protocol):
    """What a snapshot holds."""

    @property
    def unit(self) -> str:
        """What it holds, in the plural."""

    @property
    def made_of(self) -> str:
        """What is stored for it, in the plural."""

    def found(self, connection: Connection, *, most: int, replayed: bool = True) -> Gathered:
        """What of the newest `most` may be in one, newest first, before any cap; with what may be replayed,
        unless nothing is to be.
        """

    def newest(self, connection: Connection) -> Hashable:
        """Another value as soon as there is more to find."""

    def since(self, connection: Connection, at: float | None, *, most: int) -> int:
        """How much was stored after `at` (None: ever); beyond `most` nobody counts on."""

    def write(self, store: Store, draft: Draft, directory: Path) -> tuple[str, Path]:
        """Writes the file, durably; answers (id, path)."""

    def held(self, draft: Draft) -> Held:
        """What the row says it holds."""

    def same(self, stored: StoredSnapshot, draft: Draft) -> bool:
        """Whether a stored snapshot is of this kind and holds the same."""


class Pairs:
    """Preferences, of which each is a pair of answers."""

    unit = "pairs"
    made_of = "preferences"

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
        return stored.candidate_ids is None and set(stored.preference_ids) == set(draft.ids)


class Answers:
    """Answers that were found good or bad one by one."""

    unit = made_of = "answers"

    def __init__(self, spec: PolicySpec, recipe: SftRecipe | KtoRecipe) -> None:
        self._spec = spec
        self._singles = Singles(recipe, spec.feedback)

    def found(self, connection: Connection, *, most: int, replayed: bool = True) -> Gathered:
        """By the recipe. Nothing is replayed: no answer older than those that are looked at comes in."""
        del replayed
        mix = self._spec.curation.mix
        found = self._singles.found(connection, most=most)
        return offers_of(found, tag=None if mix is None else mix.tag)

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
        return Held((), draft.ids)

    def same(self, stored: StoredSnapshot, draft: Draft) -> bool:
        """In whatever order."""
        return stored.candidate_ids is not None and set(stored.candidate_ids) == set(draft.ids)


def grouped(recipes: Sequence[Recipe]) -> list[tuple[Recipe, ...]]:
    """The recipes by the kind that they learn from, in their order. Pairs are one kind for whoever learns
    from them; which answers are good or bad is each recipe's own.
    """
    groups: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        own = isinstance(recipe, SftRecipe | KtoRecipe)
        groups.setdefault(recipe.method if own else Pairs.unit, []).append(recipe)
    return [tuple(group) for group in groups.values()]


def kind_of(spec: PolicySpec, recipe: Recipe | None = None) -> Kind:
    """The kind that the recipe learns from; None: the policy's first."""
    recipe = recipe or spec.recipe
    return Answers(spec, recipe) if isinstance(recipe, SftRecipe | KtoRecipe) else Pairs(spec)


def ids_of(given: Sequence[Answer]) -> tuple[int, ...]:
    """The candidates of answers."""
    return tuple(answer.candidate for answer in given)
