"""Training as the daemon sees it: a snapshot in, a published adapter or a reason out.

The row and its ledger entry are written before the child starts; the adapter is on disk, whole and verified,
before its row is. A run that was cut off, by a kill or on request, goes on from its last checkpoint when the
same training is asked for again, and ends as the same adapter.
"""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from daemon.adapters import adapters
from daemon.adapters.adapters import Published
from daemon.adapters.basedigest import CACHE, BaseOnDisk
from daemon.adapters.rewardmodels import PublishedReward
from daemon.children.alive import another_lives
from daemon.children.child import Child, ChildFailedError
from daemon.clock import Clock
from daemon.config.settings import TrainingConfig
from daemon.errors import AdapterRefusedError, RlaifdError, UsageError
from daemon.latch import Latch
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.stages.train import publication, rewardsource
from daemon.stages.train.course import Course
from daemon.stages.train.following import Follower
from daemon.stages.train.inputs import RunInputs, job_of
from daemon.stages.train.leavings import Leavings, resumable
from daemon.stages.train.run_rows import RunOutcome, write_end, write_start
from daemon.stages.train.sounding import Soundings
from daemon.store import adapters as adapter_rows
from daemon.store import rollouts, runs, snapshots
from daemon.store.runs import StoredRun
from daemon.store.snapshots import StoredSnapshot
from daemon.store.store import Store
from policies.policy import PolicySpec, TrainingGuards
from policies.recipes import Recipe
from policies.records import Scope
from policies.states import HaltSource
from policies.training.jobs import TrainJob, TrainResult
from policies.training.layout import JOB
from policies.training.planning.plan import TrainingPlan
from policies.training.turn import TURN

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
        given: RunInputs | None = None,
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
        self._given = given or RunInputs()
        self._start = start
        self._leavings = Leavings(store, self._state_dir / "runs")
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
        left = self._leavings.sweep()
        if swept or orphans or left:
            log.warning("training_recovered", runs=orphans, swept=swept, left=left)
        return orphans

    def cut_off(self, *, recipes: Sequence[Recipe] | None = None, by_itself: bool = True) -> Course | None:
        """What the newest run that was cut off was at, where it can go on from a checkpoint by one of the
        recipes (None: the policy's), or None. `by_itself`: also where it was its child that failed.

        It goes on as it was asked, on its own snapshot: by the same recipe, on the same base model, from the
        same adapter as a training now. What came in since then is the next run's.
        """
        run = self._leavings.resumable()
        if run is None or not (by_itself or run.state == "stopped"):
            return None
        snapshot = self._store.read(lambda c: snapshots.get(c, run.snapshot_id))
        if snapshot is None or not (self._state_dir / snapshot.path).is_file():
            return None
        for recipe in self._policy.recipes if recipes is None else recipes:
            if run.recipe.get("method", recipe.method) == recipe.method and self._was_at(
                run, snapshot, recipe
            ):
                return Course(snapshot.id, recipe)
        return None

    def _was_at(self, run: StoredRun, snapshot: StoredSnapshot, recipe: Recipe) -> bool:
        file = self._state_dir / snapshot.path
        try:
            asked = self.asked(snapshot=file, snapshot_id=snapshot.id, recipe=recipe)
            return self._cut_off(self._job(snapshot, run.id, asked)) == run.id
        except RlaifdError:  # what is wrong is told by the training that is then begun
            return False

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
        on_plan: Callable[[TrainingPlan], None] | None = None,
    ) -> RunOutcome:
        """Trains on a snapshot, from where the recipe says (the base model if `from_base`), and publishes the
        adapter.

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

    def train_each(self, courses: Sequence[Course], *, actor: str) -> list[RunOutcome]:
        """Follows each course, one after another, until one is stopped or halted. One that cannot be
        followed yet, such as PPO's before a reward model is released, is told of and costs the others
        nothing.

        Raises as `train` does where training is halted, and what the last was refused for where none can be
        followed.
        """
        ended: list[RunOutcome] = []
        refused: RlaifdError | None = None
        for course in courses:
            try:
                ended.append(self.train(course.snapshot, actor=actor, recipe=course.recipe))
            except (UsageError, AdapterRefusedError) as error:
                refused = error
                log.warning("recipe_refused", method=course.recipe.method, reason=str(error))
                continue
            if ended[-1].state in {"stopped", "halted"}:
                break
        if not ended and refused is not None:
            raise refused
        return ended

    def asked(
        self,
        *,
        snapshot: Path,
        snapshot_id: str,
        recipe: Recipe | None = None,
        from_base: bool = False,
    ) -> dict[str, Any]:
        """What a training on a snapshot, and a plan for one, are asked alike. `recipe` None: the policy's.

        Raises AdapterRefusedError where the adapter in force cannot be gone on from, and UsageError where the
        recipe cannot be followed.
        """
        base, recipe = self._base.now(), recipe or self._policy.recipe
        refusal = self._training.launch.refusal(recipe.method)
        if refusal is not None:
            raise UsageError(refusal)
        stable = self._store.read(rollouts.in_force).stable
        parent = None if from_base or recipe.start == "base" else stable
        against = stable if recipe.reference == "stable" and parent is None else None
        for name in filter(None, (parent, against)):
            self._require(name)
        return {
            "base_model": base.model,
            "revision": base.revision,
            "seed": self._given.seed,
            "threads": self._training.threads,
            "device": self._training.device,
            "bf16": self._training.bf16,
            "memory_gb": self._training.memory_gb,
            "launch": self._training.launch,
            "parent": None if parent is None else self.adapters_dir / parent,
            "reference": _reference(recipe, parent) if against is None else self.adapters_dir / against,
            "snapshot": snapshot,
            "snapshot_id": snapshot_id,
            "recipe": recipe,
            "reward": rewardsource.chosen(
                recipe, store=self._store, rewards=self.rewards_dir, base=self._base
            ),
            "guards": self._policy.guards,
            "guard_max_new_tokens": self._policy.sampling.max_new_tokens,
        }

    def _require(self, adapter: str) -> None:
        """Raises AdapterRefusedError where the adapter's files or its base are not what they were."""
        digest = self._store.read(lambda c: adapter_rows.digest(c, adapter))
        made = adapters.verify(self.adapters_dir / adapter, adapter, digest=digest)
        self._base.check(adapter, made.base, fix="`rlaifd rollback --to base` first")

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
        job = self._job(snapshot, fresh, asked)
        parent = None if job.parent is None else job.parent.name
        cut_off = self._cut_off(job)
        run = cut_off or fresh
        self._directory(run).mkdir(parents=True, exist_ok=True)  # what `recover` knows our runs by
        self._store.write(partial(write_start, run=run, job=job, parent=parent, actor=actor, now=now,
                                  resumed=cut_off is not None))  # fmt: skip
        return job.model_copy(update={"out": self._directory(run)}), run

    def _job(self, snapshot: StoredSnapshot, run: str, asked: dict[str, Any]) -> TrainJob:
        return TrainJob(
            **asked,
            out=self._directory(run),
            base_digest=self._base.now().digest,
            served_as=self._policy.served_as,
            day=datetime.fromtimestamp(snapshot.created_at, UTC).date(),
            lock=self._state_dir / self._training.lock,
            turn=self._state_dir / TURN,
            turns=self._training.turns,
            judged=bool(self._given.judges),
        )

    def _cut_off(self, job: TrainJob) -> str | None:
        """The newest run of the very same job that can go on, or None."""
        for run in self._store.read(lambda c: runs.unfinished(c, job.snapshot_id)):
            file = self._directory(run.id) / JOB
            before = job_of(file) if resumable(run) else None
            if before is not None and before == job.model_copy(update={"out": before.out}):
                return run.id
        return None

    def _run(
        self, job: TrainJob, run: str, actor: str, on_plan: Callable[[TrainingPlan], None] | None
    ) -> RunOutcome:
        soundings = Soundings(
            run,
            self._directory(run),
            store=self._store,
            metrics=self._metrics,
            clock=self._clock,
            judges=self._given.judges,
        )
        follower = self._follower(run, soundings, on_plan)
        self._child = self._start(job, stall_s=self._training.stall_s, on_progress=follower.follow)
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
            soundings.close()
        if result.state == "halted":
            self._latch.halt(
                Scope.TRAINING,
                reason=f"run {run}: {result.reason}",
                source=HaltSource.GUARD,
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
        self._leavings.sweep()
        log.info(
            "training_ended", run=run, state=outcome.state, reason=outcome.reason, adapter=outcome.adapter
        )
        return outcome

    def _follower(
        self, run: str, soundings: Soundings, on_plan: Callable[[TrainingPlan], None] | None
    ) -> Follower:
        return Follower(
            run, self._directory(run), store=self._store, latch=self._latch, metrics=self._metrics,
            soundings=soundings, on_plan=on_plan, end=self._ask_to_end,
        )  # fmt: skip

    def _directory(self, run: str) -> Path:
        return self._state_dir / "runs" / run


def _reference(recipe: Recipe, parent: str | None) -> Literal["start", "base"]:
    """What the loss compares with, where that is no further adapter."""
    return "base" if recipe.reference == "base" and parent is not None else "start"
