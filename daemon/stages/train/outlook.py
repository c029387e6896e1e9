"""What a training would do, before it is begun: the plan, how long it takes, and what to know about its
data.
"""

import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.children.child import Child
from daemon.errors import RlaifdError
from daemon.store import candidates, runs
from daemon.store.candidates import Cut
from daemon.store.store import Store
from policies.recipes import Recipe
from policies.training.jobs import PlanJob, PlanResult
from policies.training.planning.plan import TrainingPlan

MANY_CUT = 0.05
"""Share of answers cut off by a limit from which on the limit is worth raising."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """A plan with its surroundings. `rate`: floating-point operations a second, and where that is from."""

    plan: TrainingPlan
    base_model: str
    snapshot: str
    parent: str | None
    rate: float | None
    basis: str
    cut: Cut
    notes: tuple[str, ...] = ()

    @property
    def minutes(self) -> float | None:
        """An estimate; None where no rate is known."""
        return None if self.rate is None else self.plan.flops / self.rate / 60


class Planner:
    """Asks a child for the plan of a training, without a lock and without a row of it."""

    def __init__(
        self,
        *,
        store: Store,
        state_dir: Path,
        asked: Callable[..., dict[str, Any]],
        stall_s: float,
        start: Callable[..., Child[PlanResult]] = Child,
    ) -> None:
        self._store = store
        self._jobs = state_dir.resolve() / "jobs"
        self._asked = asked
        self._stall_s = stall_s
        self._start = start

    def plan(
        self,
        snapshot_id: str,
        file: Path,
        *,
        recipe: Recipe | None = None,
        notes: tuple[str, ...] = (),
    ) -> Outlook:
        """The outlook of a training on the snapshot's file, as the trainer would ask for it.

        Raises ChildFailedError where nothing can be planned: no pair is left, the base model is not there.
        """
        out = self._jobs / uuid.uuid4().hex
        try:
            job = PlanJob(out=out, **self._asked(snapshot=file, snapshot_id=snapshot_id, recipe=recipe))
            plan = self._start(job, stall_s=self._stall_s).run().plan
        finally:
            shutil.rmtree(out, ignore_errors=True)
        if plan is None:
            raise RlaifdError("the child answered without a plan")
        rate, basis = pace(self._store, plan)
        cut = self._store.read(candidates.cut)
        parent = None if job.parent is None else job.parent.name
        return Outlook(plan, job.base_model, snapshot_id, parent, rate, basis, cut, (*notes, *hints(cut)))


def pace(store: Store, plan: TrainingPlan) -> tuple[float | None, str]:
    """How fast the machine trains this model (floating-point operations a second), and how that is known.

    The last finished run of the same model on the same kind of device knows best.
    """
    for run in store.read(runs.newest):
        rate = (run.result or {}).get("rate")
        facts = ((run.result or {}).get("plan") or {}).get("facts", {})
        alike = facts.get("shape") == plan.facts.shape.model_dump(mode="json")
        if rate and alike and facts["setting"]["kind"] == plan.facts.setting.kind:
            return float(rate), f"as fast as run {run.id}"
    return plan.rate, "measured now, in a second" if plan.rate else "no rate is known"


def hints(cut: Cut) -> tuple[str, ...]:
    """Which limits to raise, where many answers were cut off by them."""
    return tuple(
        f"{count} of {answers} {origin} answers ended at their limit: raise {key}"
        for origin, (count, answers), key in (
            ("sampled", cut.sampled, "policy.sampling.max_new_tokens"),
            ("logged", cut.logged, "the agent's own limit of tokens"),
        )
        if answers and count / answers > MANY_CUT
    )
