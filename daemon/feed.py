"""What there is to learn from for the recipes of one kind of snapshot."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from daemon import rewardsource
from daemon.clock import Clock
from daemon.course import Course
from daemon.schedule import Material
from daemon.stages.freezing import Freezing, FrozenSnapshot, NoPreferencesError
from daemon.store import rollouts, runs, snapshots
from daemon.store.kinds import Draft
from daemon.store.store import Store
from policies.recipes import Recipe
from policies.selection import told

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Drafted:
    """A draft, with what it was made from: the newest there was, and the hour, for old ones go by age."""

    newest: Hashable
    hour: int
    draft: Draft


class Feed:
    """Drafts and freezes what recipes are to learn from, and knows which of them were rejected on it."""

    def __init__(
        self, *, store: Store, clock: Clock, freezing: Freezing, recipes: tuple[Recipe, ...]
    ) -> None:
        self._store = store
        self._clock = clock
        self.freezing = freezing
        self.recipes = recipes
        self._drafted: _Drafted | None = None

    def material(self) -> Material:
        """What a run would learn from now. It is `rejected` where every recipe is that could be followed."""
        draft = self._draft()
        rejected = self._store.read(lambda c: self._all_rejected(c, draft))
        return Material(len(draft.ids), told(draft.left_out), rejected, self.freezing.kind.unit)

    def forget(self) -> None:
        """The next draft is of what is there then."""
        self._drafted = None

    def freeze(self) -> FrozenSnapshot:
        """The snapshot of the draft. Raises NoPreferencesError when there is nothing."""
        return self.freezing.write(self._draft())

    def courses(self, *, only_released: bool) -> list[Course]:
        """The snapshot of the draft, with each recipe that is to learn from it. `only_released`: those alone
        whose reward model was released since they were followed.
        """
        draft = self._draft()
        recipes = self._store.read(lambda c: self._open(c, draft, only_released=only_released))
        snapshot = self.freezing.write(draft).id
        left = self._store.read(lambda c: rewardsource.left(c, snapshot=snapshot, recipes=recipes))
        return [Course(snapshot, recipe) for recipe in left]

    def _open(self, connection: Connection, draft: Draft, *, only_released: bool) -> Sequence[Recipe]:
        return [
            recipe
            for recipe in self.recipes
            if self._rejected(connection, draft, recipe) is None
            and (not only_released or rewardsource.unused(connection, recipe))
        ]

    def _draft(self) -> Draft:
        """The draft of the newest there is; read once for each of them, since it may be a long look."""
        newest, hour = self._store.read(self.freezing.kind.newest), int(self._clock.now() // HOUR_S)
        known = self._drafted
        if known is not None and (known.newest, known.hour) == (newest, hour):
            return known.draft
        try:
            draft = self.freezing.drafted()
        except NoPreferencesError:
            draft = Draft((), {})
        self._drafted = _Drafted(newest, hour, draft)
        return draft

    def _all_rejected(self, connection: Connection, draft: Draft) -> str | None:
        able = [recipe for recipe in self.recipes if not rewardsource.lacking(connection, recipe)]
        found = [self._rejected(connection, draft, recipe) for recipe in able or self.recipes]
        return found[0] if all(found) else None

    def _rejected(self, connection: Connection, draft: Draft, recipe: Recipe) -> str | None:
        """The run that the same recipe, from the same start and on the same data, was rejected after. Another
        reward model is other data.
        """
        start = None if recipe.start == "base" else rollouts.in_force(connection).stable
        since = rewardsource.renewed(connection, recipe) or 0.0
        asked = recipe.model_dump(mode="json")
        for found in runs.rejections(connection, recipe=asked, parent=start):
            had = snapshots.get(connection, found.snapshot_id)
            if had is not None and found.started_at >= since and self.freezing.kind.same(had, draft):
                return found.reason
        return None
