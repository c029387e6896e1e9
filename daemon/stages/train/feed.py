"""What there is to learn from for the recipes of one kind of snapshot."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.stages.train import rewardsource
from daemon.stages.train.course import Course
from daemon.stages.train.freeze import Freezing, FrozenSnapshot, NoPreferencesError
from daemon.stages.train.schedule import Harvest
from daemon.store import rollouts, runs, snapshots
from daemon.store.kinds import Draft
from daemon.store.store import Store
from policies.recipes import Recipe
from policies.selection import told

HOUR_S = 3600.0
GLANCE = 1_000
"""So many of the newest mostly say whether there is enough, and cost the same however many are stored."""


@dataclass(frozen=True, slots=True)
class _Drafted:
    """A draft, with what it was made from: the newest there was, and the hour, for old ones go by age."""

    newest: Hashable
    hour: int
    draft: Draft


class Feed:
    """Drafts and freezes what recipes are to learn from, and knows which of them were rejected on it."""

    def __init__(
        self, *, store: Store, clock: Clock, freezing: Freezing, recipes: tuple[Recipe, ...], enough: int
    ) -> None:
        """`enough`: so many are enough to begin a run."""
        self._store = store
        self._enough = enough
        self._clock = clock
        self.freezing = freezing
        self.recipes = recipes
        self._drafted: _Drafted | None = None

    def material(self) -> Harvest:
        """What a run would learn from now: all of it, or what the newest give, where that is enough to begin.
        It is `rejected` where every recipe is that could be followed.
        """
        if self._store.read(self._none_rejected):
            glance = self._drafted_of(max(GLANCE, 4 * self._enough))
            if len(glance.ids) >= self._enough:
                return Harvest(len(glance.ids), told(glance.left_out), None, self.freezing.kind.unit)
        draft = self._draft()
        rejected = self._store.read(lambda c: self._all_rejected(c, draft))
        return Harvest(len(draft.ids), told(draft.left_out), rejected, self.freezing.kind.unit)

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
        draft = self._drafted_of(None)
        self._drafted = _Drafted(newest, hour, draft)
        return draft

    def _drafted_of(self, newest: int | None) -> Draft:
        try:
            return self.freezing.drafted(newest=newest)
        except NoPreferencesError:
            return Draft((), {})

    def _able(self, connection: Connection) -> Sequence[Recipe]:
        """The recipes that could be followed now; all where none could."""
        able = [recipe for recipe in self.recipes if not rewardsource.lacking(connection, recipe)]
        return able or self.recipes

    def _none_rejected(self, connection: Connection) -> bool:
        """Whether a recipe has nothing on record that a draft would have to be compared with."""
        return any(not self._rejections(connection, recipe) for recipe in self._able(connection))

    def _all_rejected(self, connection: Connection, draft: Draft) -> str | None:
        found = [self._rejected(connection, draft, recipe) for recipe in self._able(connection)]
        return found[0] if all(found) else None

    def _rejected(self, connection: Connection, draft: Draft, recipe: Recipe) -> str | None:
        """The run that the same recipe, from the same start and on the same data, was rejected after."""
        for found in self._rejections(connection, recipe):
            had = snapshots.get(connection, found.snapshot_id)
            if had is not None and self.freezing.kind.same(had, draft):
                return found.reason
        return None

    def _rejections(self, connection: Connection, recipe: Recipe) -> Sequence[runs.Rejection]:
        """Whatever the data were. Those before another reward model was released are of other data."""
        start = None if recipe.start == "base" else rollouts.in_force(connection).stable
        since = rewardsource.renewed(connection, recipe) or 0.0
        asked = recipe.model_dump(mode="json")
        found = runs.rejections(connection, recipe=asked, parent=start)
        return [each for each in found if each.started_at >= since]
