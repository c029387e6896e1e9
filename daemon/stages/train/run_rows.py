"""What of a training is written: one transaction at its start and one at its end, each with its ledger
entry.
"""

import os
from dataclasses import dataclass

from sqlalchemy import Connection

from daemon.adapters.adapters import Published
from daemon.adapters.rewardmodels import PublishedReward
from daemon.errors import HaltedError, RlaifdError
from daemon.store import adapters as adapter_rows
from daemon.store import halts, ledger, runs
from daemon.store import rewardmodels as reward_rows
from policies.records import Scope
from policies.training.jobs import TrainJob, TrainResult


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended. Where `state` is done `adapter` is the published adapter's name, or `reward_model` is
    the published reward model's.
    """

    run: str
    state: runs.State
    reason: str
    adapter: str | None
    result: TrainResult | None
    reward_model: str | None = None


def write_start(
    connection: Connection,
    *,
    run: str,
    job: TrainJob,
    parent: str | None,
    actor: str,
    now: float,
    resumed: bool,
) -> None:
    """Begins the run, or takes it up again. Raises HaltedError while training is halted, and RlaifdError
    where another process took the run up.
    """
    stops = halts.active(connection, Scope.TRAINING)
    if stops:
        raise HaltedError(f"training is halted: {stops[0].reason}")
    recipe = job.recipe.model_dump(mode="json")
    if resumed:
        if not runs.resume(connection, run, pid=os.getpid(), now=now):
            raise RlaifdError(f"run {run} was taken up by another process")
    else:
        runs.begin(
            connection,
            run=run,
            snapshot_id=job.snapshot_id,
            recipe=recipe,
            parent=parent,
            pid=os.getpid(),
            now=now,
        )
    ledger.append(
        connection,
        at=now,
        actor=actor,
        action="training resumed" if resumed else "training started",
        subject=run,
        reason="",
        detail={"snapshot": job.snapshot_id, "parent": parent, "recipe": recipe},
    )


def write_end(
    connection: Connection, *, outcome: RunOutcome, published: Published | PublishedReward | None, now: float
) -> None:
    """Ends the run, with the row of the adapter or of the reward model where one was published."""
    result = None if outcome.result is None else outcome.result.model_dump(mode="json")
    if outcome.state == "failed":
        before = runs.get(connection, outcome.run)
        result = {"attempts": 1 + ((before.result or {}).get("attempts", 0) if before else 0)}
    if isinstance(published, PublishedReward):
        manifest = published.manifest.model_dump(mode="json")
        reward_rows.record(
            connection, name=published.name, digest=published.digest, manifest=manifest, now=now
        )
    elif published is not None:
        adapter_rows.record(
            connection,
            name=published.name,
            digest=published.digest,
            path=str(published.path),
            base_model=published.manifest.base_model,
            run_id=outcome.run,
            parent=published.manifest.parent,
            manifest=published.manifest.model_dump(mode="json"),
            now=now,
        )
    runs.end(
        connection,
        outcome.run,
        state=outcome.state,
        reason=outcome.reason,
        now=now,
        step=None if outcome.result is None else outcome.result.steps,
        adapter=outcome.adapter,
        result=result,
    )
    ledger.append(
        connection,
        at=now,
        actor="training",
        action=f"training {outcome.state}",
        subject=outcome.run,
        reason=outcome.reason,
        detail={"adapter": outcome.adapter}
        | ({} if outcome.reward_model is None else {"reward_model": outcome.reward_model}),
    )
