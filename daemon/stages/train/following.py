"""What a run under way tells: its figures, its plan, and how far it is."""

import time
from collections.abc import Callable
from pathlib import Path

from daemon.errors import HaltedError
from daemon.latch import Latch
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.stages.train.sounding import Soundings
from daemon.store import runs
from daemon.store.store import Store
from policies.records import Scope
from policies.training.jobs import Progress
from policies.training.layout import PLAN
from policies.training.planning.plan import TrainingPlan

LOOK_S = 2.0
"""How often a run under way asks whether training was halted, and notes its step."""

SHOWN = frozenset(
    {
        "margin", "accuracy", "reward", "reward_sd", "reward_spread", "ceiling_share", "truncated_share",
        "kl_sequence", "kl_coefficient", "entropy", "approx_kl", "clip_share", "value_loss", "explained",
    }
)  # fmt: skip
"""Figures of a step that are shown live beside its loss, where the method has them."""

log = get("trainer")


class Follower:
    """Listens to one run's child, and tells `soundings` of each line. `end` asks the child to leave a
    checkpoint and end.
    """

    def __init__(
        self,
        run: str,
        directory: Path,
        *,
        store: Store,
        latch: Latch,
        metrics: Metrics,
        soundings: Soundings,
        on_plan: Callable[[TrainingPlan], None] | None,
        end: Callable[[], None],
    ) -> None:
        self._run = run
        self._directory = directory
        self._store = store
        self._latch = latch
        self._metrics = metrics
        self._soundings = soundings
        self._on_plan = on_plan
        self._end = end
        self._looked = time.monotonic()

    def follow(self, progress: Progress) -> None:
        """Takes one line of progress."""
        if progress.event == "planned":
            plan = self._planned()
            if self._on_plan is not None:
                self._on_plan(plan)
        self._observe(progress)
        self._soundings.follow(progress)
        if time.monotonic() - self._looked > LOOK_S:
            self._looked = time.monotonic()
            self._look(progress.step)

    def _observe(self, progress: Progress) -> None:
        """Sets the gauges."""
        figures = progress.metrics
        if progress.event == "step":
            self._metrics.training_step.set(progress.step)
            if "loss" in figures:
                self._metrics.training_loss.set(figures["loss"])
            for name in SHOWN & figures.keys():
                self._metrics.training_figure.labels(name).set(figures[name])
        elif progress.event == "guard":
            self._metrics.training_kl.set(figures["kl_sequence"])
            self._metrics.entropy.labels("challenger").set(figures["entropy"])

    def _planned(self) -> TrainingPlan:
        """Takes up what the child has decided."""
        plan = TrainingPlan.model_validate_json((self._directory / PLAN).read_bytes())
        recipe = plan.recipe.model_dump(mode="json")
        self._store.write(lambda c: runs.decide(c, self._run, recipe=recipe))
        log.info("training_planned", run=self._run, plan=str(plan))
        return plan

    def _look(self, step: int) -> None:
        """Notes the step, and stops the child when training was halted meanwhile."""
        self._store.write(lambda c: runs.advance(c, self._run, step=step))
        try:
            self._latch.check(Scope.TRAINING)
        except HaltedError as error:
            log.warning("training_halted_under_way", run=self._run, reason=str(error))
            self._end()
