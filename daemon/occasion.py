"""Whether there is an occasion to train: the facts behind `schedule.due`, read from the store.

The daemon's schedule, `rlaifd train`, and whoever shows why training waits ask here.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.config import Settings, TrainingConfig
from daemon.latch import Latch
from daemon.schedule import Due, Facts, Material, Terms, Turn, due, short
from daemon.stages.freezing import Freezing, FrozenSnapshot, NoPreferencesError
from daemon.store import evaluations, rollouts, runs, snapshots
from daemon.store.kinds import Draft
from daemon.store.store import Store
from policies.records import Scope
from policies.selection import told

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Drafted:
    """A draft, with what it was made from: the newest there was, and the hour, for old ones go by age."""

    newest: Hashable
    hour: int
    draft: Draft


class Occasion:
    """Reads why training waits, and freezes what a run is to learn from."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        latch: Latch,
        settings: Settings,
        cut_off: Callable[[], bool],
    ) -> None:
        """`cut_off`: whether a run that was cut off can go on from its checkpoint."""
        self._store = store
        self._clock = clock
        self._latch = latch
        self._cut_off = cut_off
        self._recipe = settings.policy.recipe
        self.terms = _terms(settings.training)
        self.freezing = Freezing(
            store=store,
            clock=clock,
            spec=settings.policy,
            directory=settings.state_dir / "snapshots",
            seed=settings.seed,
        )
        self._drafted: _Drafted | None = None

    def due(self, *, leads: bool = True) -> Due:
        """Whether a run is due, or why not."""
        return due(self.facts(leads=leads), self.terms, now=self._clock.now())

    def facts(self, *, leads: bool = True) -> Facts:
        """What the store says, now."""
        halted = any(halt.scope == Scope.TRAINING for halt in self._latch.active())
        found = self._store.read(lambda c: self._facts(c, halted=halted, leads=leads))
        free = leads and not halted and not found.running
        return replace(found, cut_off=free and self._cut_off())

    def _facts(self, connection: Connection, *, halted: bool, leads: bool) -> Facts:
        return Facts(
            last_start=runs.last_start(connection),
            new_preferences=self.freezing.kind.since(
                connection, runs.last_learned(connection), most=max(self.terms.min_new, 1)
            ),
            called=self.freezing.kind.made_of,
            halted=halted,
            running=runs.running(connection),
            material=self.material,
            turn=_last_turn(connection),
            leads=leads,
        )

    def material(self) -> Material:
        """What a run would learn from now."""
        return self._material(self._draft())

    def freeze(self) -> FrozenSnapshot | Due:
        """The snapshot that a run is to learn from, or why none is to start on what is there now."""
        self._drafted = None
        draft = self._draft()
        return short(self._material(draft), self.terms) or self.freezing.write(draft)

    def _material(self, draft: Draft) -> Material:
        rejected = self._store.read(lambda c: self._rejected(c, draft))
        return Material(len(draft.ids), told(draft.left_out), rejected, self.freezing.kind.unit)

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

    def _rejected(self, connection: Connection, draft: Draft) -> str | None:
        """The run that the same recipe, from the same start and on the same data, was rejected after."""
        start = None if self._recipe.start == "base" else rollouts.in_force(connection).stable
        recipe = self._recipe.model_dump(mode="json")
        for found in runs.rejections(connection, recipe=recipe, parent=start):
            had = snapshots.get(connection, found.snapshot_id)
            if had is not None and self.freezing.kind.same(had, draft):
                return found.reason
        return None


def _terms(training: TrainingConfig) -> Terms:
    return Terms(
        interval_s=training.interval_s,
        min_new=training.min_new_preferences,
        min_preferences=training.min_preferences,
        cooldown_s=training.cooldown_s,
    )


def _last_turn(connection: Connection) -> Turn | None:
    """The newest of what a cool-down counts from."""
    changes = rollouts.changes(connection, limit=1)
    turns = [Turn(change.at, "the adapter in force changed") for change in changes]
    rejected = evaluations.last_rejection(connection)
    turns += [] if rejected is None else [Turn(rejected, "the gate rejected an adapter")]
    failed = runs.last_failure(connection)
    turns += [] if failed is None else [Turn(failed, "a run failed")]
    return max(turns, key=lambda turn: turn.at, default=None)
