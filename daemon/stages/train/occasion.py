"""Whether there is an occasion to train: the facts behind `schedule.due`, read from the store.

The daemon's schedule, `rlaifd train`, and whoever shows why training waits ask here.
"""

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.config.settings import Settings, TrainingConfig
from daemon.latch import Latch
from daemon.stages.train import rewardsource
from daemon.stages.train.course import Course
from daemon.stages.train.feed import Feed
from daemon.stages.train.freeze import Freezing, FrozenSnapshot
from daemon.stages.train.schedule import (
    Due,
    Harvest,
    Situation,
    StartTerms,
    TurningPoint,
    due,
    lacking,
    short,
)
from daemon.store import evaluations, rewardmodels, rollouts, runs
from daemon.store.kinds import grouped
from daemon.store.store import Store
from policies.recipes import Recipe
from policies.records import Scope


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
        self._settings = settings
        self.terms = _terms(settings.training)
        self._feeds = [self._feed(recipes) for recipes in grouped(settings.policy.recipes)]

    def _feed(self, recipes: tuple[Recipe, ...]) -> Feed:
        settings = self._settings
        freezing = Freezing(
            store=self._store,
            clock=self._clock,
            spec=settings.policy,
            directory=settings.state_dir / "snapshots",
            seed=settings.seed,
            recipe=recipes[0],
        )
        return Feed(
            store=self._store,
            clock=self._clock,
            freezing=freezing,
            recipes=recipes,
            enough=settings.training.min_preferences,
        )

    def feed(self, recipe: Recipe | None = None) -> Feed:
        """What there is for the recipe alone, listed in the policy or not. None: the policy's first."""
        return self._feed((recipe or self._settings.policy.recipe,))

    @property
    def freezing(self) -> Freezing:
        """Of the policy's first recipe."""
        return self._feeds[0].freezing

    def due(self, *, leads: bool = True) -> Due:
        """Whether a run is due, or why not."""
        return due(self.facts(leads=leads), self.terms, now=self._clock.now())

    def facts(self, *, leads: bool = True) -> Situation:
        """What the store says of the first kind of snapshot on which a run is due now, else of the first."""
        halted = any(halt.scope == Scope.TRAINING for halt in self._latch.active())
        found = self._store.read(
            lambda c: [self._facts(c, feed, halted=halted, leads=leads) for feed in self._feeds]
        )
        free = leads and not halted and not found[0].running
        if free and self._cut_off():
            return replace(found[0], cut_off=True)
        if len(found) == 1:
            return found[0]
        now = self._clock.now()
        return next((each for each in found if due(each, self.terms, now=now).yes), found[0])

    def _facts(
        self, connection: Connection, feed: Feed, *, halted: bool = False, leads: bool = True
    ) -> Situation:
        kind, methods = feed.freezing.kind, [recipe.method for recipe in feed.recipes]
        able = any(not rewardsource.lacking(connection, recipe) for recipe in feed.recipes)
        awaited = None if able else rewardmodels.awaited(connection, feed.recipes)
        return Situation(
            last_start=runs.last_start(connection),
            new_preferences=kind.since(
                connection, runs.last_learned(connection, methods), most=max(self.terms.min_new, 1)
            ),
            called=kind.made_of,
            halted=halted,
            running=runs.running(connection),
            material=feed.material,
            turn=_last_turn(connection),
            leads=leads,
            released=any(rewardsource.unused(connection, recipe) for recipe in feed.recipes),
            awaited=None if awaited is None else awaited.reason,
        )

    def material(self) -> Harvest:
        """What a run by the policy's first recipe would learn from now."""
        return self.feed().material()

    def freeze(self, recipe: Recipe | None = None) -> FrozenSnapshot | Due:
        """The snapshot that a run by the recipe is to learn from, or why none is to start on what is there
        now. None: the policy's first.
        """
        feed = self.feed(recipe)
        return short(feed.material(), self.terms) or feed.freeze()

    def freeze_each(self) -> list[Course] | Due:
        """What the policy's recipes are to learn from: one snapshot for each kind of which there is enough.
        Left out are recipes that were rejected on the same data, and those that have learned from it, unless
        all have. Or why no run is to start.
        """
        courses: list[Course] = []
        waits: Due | None = None
        for feed in self._feeds:
            feed.forget()
            facts = self._store.read(lambda c, feed=feed: self._facts(c, feed))  # type: ignore[misc]
            lacks = lacking(facts, self.terms)
            if lacks is None:
                only_released = facts.new_preferences < self.terms.min_new
                courses += feed.courses(only_released=only_released)
            waits = waits or lacks
        return courses if courses or waits is None else waits

    def going_on(self, cut_off: Course) -> list[Course]:
        """A run that was cut off, and then what else is to learn from its snapshot."""
        feed = next((each for each in self._feeds if cut_off.recipe in each.recipes), None)
        others = [] if feed is None else [each for each in feed.recipes if each != cut_off.recipe]
        left = self._store.read(
            lambda c: [each for each in others if not rewardsource.has_learned(c, cut_off.snapshot, each)]
        )
        return [cut_off, *(Course(cut_off.snapshot, each) for each in left)]


def _terms(training: TrainingConfig) -> StartTerms:
    return StartTerms(
        interval_s=training.interval_s,
        min_new=training.min_new_preferences,
        min_preferences=training.min_preferences,
        cooldown_s=training.cooldown_s,
    )


def _last_turn(connection: Connection) -> TurningPoint | None:
    """The newest of what a cool-down counts from."""
    changes = rollouts.changes(connection, limit=1)
    turns = [TurningPoint(change.at, "the adapter in force changed") for change in changes]
    rejected = evaluations.last_rejection(connection)
    turns += [] if rejected is None else [TurningPoint(rejected, "the gate rejected an adapter")]
    failed = runs.last_failure(connection)
    turns += [] if failed is None else [TurningPoint(failed, "a run failed")]
    return max(turns, key=lambda turn: turn.at, default=None)
