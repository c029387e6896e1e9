"""Training as the daemon sees it: a snapshot in, a published adapter or a reason out.

The row and its ledger entry are written before the child starts; the adapter is on disk, whole and verified,
before its row is. A run that was cut off, by a kill or on request, goes on from its last checkpoint when the
same training is asked for again, and ends as the same adapter.
"""

import shutil
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from daemon import adapters, publication, rewardsource
from daemon.adapters import Published
from daemon.basedigest import CACHE, BaseOnDisk
from daemon.children import Child, ChildFailedError, another_lives
from daemon.clock import Clock
from daemon.config import TrainingConfig
from daemon.errors import AdapterRefusedError, HaltedError, RlaifdError, UsageError
from daemon.latch import Latch
from daemon.log import get
from daemon.metrics import Metrics
from daemon.rewardmodels import PublishedReward
from daemon.runrows import RunOutcome, write_end, write_start
from daemon.store import adapters as adapter_rows
from daemon.store import rollouts, runs, snapshots
from daemon.store.runs import Run
from daemon.store.store import Store
from policies.policy import PolicySpec, TrainingGuards
from policies.recipes import Recipe
from policies.records import Scope
from policies.training.jobs import (
    CHECKPOINTS,
    JOB,
    JOBS,
    PLAN,
    Job,
    Progress,
    TrainJob,
    TrainResult,
)
from policies.training.planning.plan import Plan

LOOK_S = 2.0
"""How often a run under way asks whether training was halted, and notes its step."""
ATTEMPTS = 3
"""How often a run whose child crashed is taken up again before a new one is begun."""

SHOWN = frozenset(
    {
        "margin", "accuracy", "reward", "reward_sd", "reward_spread", "ceiling_share", "truncated_share",
        "kl_sequence", "kl_coefficient", "entropy", "approx_kl", "clip_share", "value_loss", "explained",
    }
)  # fmt: skip
"""Figures of a step that are shown live beside its loss, where the method has them."""

log = get("trainer")


class Trainer:
    """Runs one training at a time. `train` blocks; `stop` may be called from another thread."""

    def __init__(
        self,
        *,
        store: Store,
        state_dir: Path,
        policy: PolicySpec,
        training: TrainingConfig,
        latch: Latch,
        metrics: Metrics,
        clock: Clock,
        seed: int = 0,
        start: Callable[..., Child[TrainResult]] = Child,
    ) -> None:
        self._store = store
        self._state_dir = state_dir.resolve()
        self._policy = policy
        self._base = BaseOnDisk(policy.base, cache=self._state_dir / CACHE)
        self._training = training
        self._latch = latch
        self._metrics = metrics
        self._clock = clock
        self._seed = seed
        self._start = start
        self._busy = threading.Lock()
        self._child: Child[TrainResult] | None = None
        self._asked = False
        self._closed = False

    @property
    def adapters_dir(self) -> Path:
        """Where adapters are published."""
        return self._state_dir / "adapters"

    @property
    def rewards_dir(self) -> Path:
        """Where reward models are published."""
        return self._state_dir / "rewards"

    def recover(self) -> list[str]:
        """Sweeps half-published adapters, and marks as stopped the runs of this machine whose process was
        killed. Runs that another process is at are left alone. To be called before this process trains.
        Answers the ids of the stopped runs.
        """
        swept = adapters.sweep(self.adapters_dir) + adapters.sweep(self.rewards_dir)
        now = self._clock.now()
        orphans = self._store.write(
            lambda c: runs.abandon(c, gone=self._gone, reason="its process ended", now=now)
        )
        if swept or orphans:
            log.warning("training_recovered", runs=orphans, swept=swept)
        return orphans

    def _gone(self, run: str, pid: int | None, since: float) -> bool:
        """The run is of this machine's state directory, and nobody is at it any more."""
        return self._directory(run).exists() and (pid is None or not another_lives(pid, since))

    def stop(self) -> None:
        """Asks a run under way to leave a checkpoint and end, and starts none any more. Returns at once."""
        self._closed = True
        self._ask_to_end()

    def _ask_to_end(self) -> None:
        self._asked = True
        child = self._child
        if child is not None:
            child.stop()

    def train(
        self,
        snapshot_id: str,
        *,
        actor: str,
        recipe: Recipe | None = None,
        guards: TrainingGuards | None = None,
        from_base: bool = False,
        on_plan: Callable[[Plan], None] | None = None,
    ) -> RunOutcome:
        """Trains on a snapshot, from the adapter in force unless `from_base`, and publishes the adapter.

        `on_plan` is told what the run will do before its first step. Raises HaltedError while training is
        halted, UsageError for an unknown snapshot, and RlaifdError when a run is under way. What goes wrong
        in the run itself is an outcome with its reason.
        """
        self._latch.check(Scope.TRAINING)
        if not self._busy.acquire(blocking=False):
            raise RlaifdError("a training run is under way: wait for it, or stop it")
        try:
            if self._closed:
                raise RlaifdError("the daemon is stopping: no training is started")
            self._asked = False
            job, run = self._begin(snapshot_id, actor, recipe, guards, from_base=from_base)
            self._metrics.training_active.set(1)
            self._metrics.training_figure.clear()
            self._metrics.training_kl_limit.set(job.guards.kl_nats.limit)
            return self._run(job, run, actor, on_plan)
        finally:
            self._metrics.training_active.set(0)
            self._busy.release()

    def train_each(self, snapshot_id: str, *, actor: str) -> list[RunOutcome]:
        """Trains by the policy's recipes, one after another: by those that have not learned from the snapshot
        yet (PPO's: not since a reward model was released), else by all. One that cannot be followed yet, such
        as PPO's before that, is told of and costs the others nothing.

        Raises as `train` does where training is halted, and UsageError where no recipe can be followed.
        """
        ended: list[RunOutcome] = []
        refused: UsageError | None = None
        for recipe in self._store.read(partial(rewardsource.left, snapshot=snapshot_id, policy=self._policy)):
            try:
                ended.append(self.train(snapshot_id, actor=actor, recipe=recipe))
            except UsageError as error:
                refused = error
                log.warning("recipe_refused", method=recipe.method, reason=str(error))
        if not ended and refused is not None:
            raise refused
        return ended

    def released(self) -> bool:
        """Whether a reward model was released that the policy asks for, and no run began since."""
        return self._store.read(partial(rewardsource.unused, recipes=self._policy.recipes))

    def asked(
        self, *, snapshot: Path, snapshot_id: str, recipe: Recipe | None = None, from_base: bool = False
    ) -> dict[str, Any]:
        """What a training on a snapshot, and a plan for one, are asked. Reward models begin at the base.

        Raises AdapterRefusedError where the adapter in force cannot be gone on from, and UsageError where the
        recipe cannot be followed.
        """
        recipe = recipe or self._policy.recipe
        base = self._base.now()
        parent = (
            None if from_base or recipe.method == "reward" else self._store.read(rollouts.in_force).stable
        )
        if parent is not None:
            digest = self._store.read(lambda c: adapter_rows.digest(c, parent))
            made = adapters.verify(self.adapters_dir / parent, parent, digest=digest)
            self._base.check(parent, made.base, fix="`rlaifd rollback --to base` first")
        return {
            "base_model": base.model,
            "revision": base.revision,
            "seed": self._seed,
            "threads": self._training.threads,
            "device": self._training.device,
            "bf16": self._training.bf16,
            "memory_gb": self._training.memory_gb,
            "parent": None if parent is None else self.adapters_dir / parent,
            "snapshot": snapshot,
            "snapshot_id": snapshot_id,
            "recipe": recipe,
            "reward": rewardsource.chosen(
                recipe, store=self._store, rewards=self.rewards_dir, base=self._base
            ),
            "guards": self._policy.guards,
            "guard_max_new_tokens": self._policy.sampling.max_new_tokens,
        }

    def _begin(
        self,
        snapshot_id: str,
        actor: str,
        recipe: Recipe | None,
        guards: TrainingGuards | None,
        *,
        from_base: bool,
    ) -> tuple[TrainJob, str]:
        snapshot = self._store.read(lambda c: snapshots.get(c, snapshot_id))
        if snapshot is None:
            raise UsageError(f"there is no snapshot {snapshot_id[:12]}")
        now = self._clock.now()
        fresh = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now)) + f"-{uuid.uuid4().hex[:6]}"
        asked = self.asked(
            snapshot=self._state_dir / snapshot.path,
            snapshot_id=snapshot.id,
            recipe=recipe,
            from_base=from_base,
        )
        if guards is not None:
            asked["guards"] = guards
        job = TrainJob(
            **asked,
            out=self._directory(fresh),
            base_digest=self._base.now().digest,
            served_as=self._policy.served_as,
            day=datetime.fromtimestamp(snapshot.created_at, UTC).date(),
            lock=self._state_dir / self._training.lock,
        )
        parent = None if job.parent is None else job.parent.name
        cut_off = self._cut_off(job)
        run = cut_off or fresh
        self._directory(run).mkdir(parents=True, exist_ok=True)  # what `recover` knows our runs by
        self._store.write(partial(write_start, run=run, job=job, parent=parent, actor=actor, now=now,
                                  resumed=cut_off is not None))  # fmt: skip
        return job.model_copy(update={"out": self._directory(run)}), run

    def _cut_off(self, job: TrainJob) -> str | None:
        """The newest run of the very same job that can go on, or None."""
        for run in self._store.read(lambda c: runs.unfinished(c, job.snapshot_id)):
            file = self._directory(run.id) / JOB
            before = _job_of(file) if _resumable(run) else None
            if before is not None and before == job.model_copy(update={"out": before.out}):
                return run.id
        return None

    def _run(self, job: TrainJob, run: str, actor: str, on_plan: Callable[[Plan], None] | None) -> RunOutcome:
        self._child = self._start(
            job, stall_s=self._training.stall_s, on_progress=_Follower(self, run, on_plan).follow
        )
        log.info("training_started", run=run, snapshot=job.snapshot_id[:12], actor=actor)
        try:
            if self._closed:
                self._child.stop()
            result = self._child.run()
            published = self._publish(job, run, result) if result.state == "done" else None
        except (ChildFailedError, AdapterRefusedError) as error:
            asked = self._asked and isinstance(error, ChildFailedError)
            ended: runs.State = "stopped" if asked else "failed"
            return self._end(run, RunOutcome(run, ended, str(error), None, None), None)
        except BaseException:
            self._end(run, RunOutcome(run, "stopped", "interrupted", None, None), None)
            raise
        finally:
            self._child = None
        if result.state == "halted":
            self._latch.halt(
                Scope.TRAINING,
                reason=f"run {run}: {result.reason}",
                source="guard",
                actor="training",
                fingerprint=f"run:{run}",
            )
        if isinstance(published, PublishedReward):
            told = f"reward model {published.name} is held until labels release it"
            outcome = RunOutcome(run, result.state, told, None, result, reward_model=published.name)
            return self._end(run, outcome, published)
        name = None if published is None else published.name
        return self._end(run, RunOutcome(run, result.state, result.reason, name, result), published)

    def _publish(self, job: TrainJob, run: str, result: TrainResult) -> Published | PublishedReward:
        """Raises AdapterRefusedError where files or base model are not what they were in the run."""
        self._base.require(job.base_digest)
        if job.recipe.method == "reward":
            return publication.reward_model(job, run, result, policy=self._policy.name, to=self.rewards_dir)
        return publication.adapter(job, run, result, policy=self._policy.name, to=self.adapters_dir)

    def _end(
        self, run: str, outcome: RunOutcome, published: Published | PublishedReward | None
    ) -> RunOutcome:
        now = self._clock.now()
        self._store.write(partial(write_end, outcome=outcome, published=published, now=now))
        self._metrics.training_runs.labels(outcome.state).inc()
        self._metrics.last_training.set(now)
        if outcome.state in {"done", "unchanged", "halted"}:
            shutil.rmtree(self._directory(run) / CHECKPOINTS, ignore_errors=True)
        log.info(
            "training_ended", run=run, state=outcome.state, reason=outcome.reason, adapter=outcome.adapter
        )
        return outcome

    def _directory(self, run: str) -> Path:
        return self._state_dir / "runs" / run

    def observe(self, progress: Progress) -> None:
        """Sets the gauges from a line of progress."""
        figures = progress.metrics
        if progress.event == "step":
            self._metrics.training_step.set(progress.step)
            if "loss" in figures:
                self._metrics.training_loss.set(figures["loss"])
            for name in SHOWN & figures.keys():
                self._metrics.training_figure.labels(name).set(figures[name])
        elif progress.event == "guard":
            self._metrics.training_kl.set(figures["kl_sequence"])
            self._metrics.entropy.labels("candidate").set(figures["entropy"])

    def planned(self, run: str) -> Plan:
        """Takes up what the run's child has decided."""
        plan = Plan.model_validate_json((self._directory(run) / PLAN).read_bytes())
        recipe = plan.recipe.model_dump(mode="json")
        self._store.write(lambda c: runs.decide(c, run, recipe=recipe))
        log.info("training_planned", run=run, plan=str(plan))
        return plan

    def look(self, run: str, step: int) -> None:
        """Notes the step, and stops the child when training was halted meanwhile."""
        self._store.write(lambda c: runs.advance(c, run, step=step))
        try:
            self._latch.check(Scope.TRAINING)
        except HaltedError as error:
            log.warning("training_halted_under_way", run=run, reason=str(error))
            self._ask_to_end()


class _Follower:
    """Listens to one run's child."""

    def __init__(self, trainer: Trainer, run: str, on_plan: Callable[[Plan], None] | None) -> None:
        self._trainer = trainer
        self._run = run
        self._on_plan = on_plan
        self._looked = time.monotonic()

    def follow(self, progress: Progress) -> None:
        """Takes one line of progress."""
        if progress.event == "planned":
            plan = self._trainer.planned(self._run)
            if self._on_plan is not None:
                self._on_plan(plan)
        self._trainer.observe(progress)
        if time.monotonic() - self._looked > LOOK_S:
            self._looked = time.monotonic()
            self._trainer.look(self._run, progress.step)


def _job_of(file: Path) -> Job | None:
    """The job in the file; None where there is none, or one that was cut off or is of another version."""
    try:
        return JOBS.validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def _resumable(run: Run) -> bool:
    if run.state == "stopped":
        return True
    attempts: Any = (run.result or {}).get("attempts", ATTEMPTS)
    return bool(attempts < ATTEMPTS)
