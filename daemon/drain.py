"""One stage to its end, as the commands run it: the daemon's own steps, in a loop until nothing is left."""

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection

from connectors.decoders.detect import Decoders
from daemon.errors import UsageError
from daemon.outlook import Outlook
from daemon.runrows import RunOutcome
from daemon.stages.ingest import ingest_file
from daemon.stages.sampling import Batch
from daemon.store import preferences, rewardmodels, rollouts
from daemon.store import snapshots as frozen
from daemon.store.adapters import newest
from daemon.store.evaluations import cut_off, latest
from daemon.store.judgements import waiting
from daemon.store.traces import Counts
from daemon.wiring import Wiring
from policies import snapshot as snapshots
from policies.recipes import Recipe
from policies.records import Role
from policies.training.planning.plan import Plan


def ingest(parts: Wiring, file: Path) -> Counts:
    """Stores one file through the first source's decoder."""
    return ingest_file(
        file,
        decoders=Decoders(parts.settings.sources[0].decoder),
        store=parts.store,
        metrics=parts.metrics,
        clock=parts.clock,
        splits=parts.settings.policy.splits,
    )


def judge(parts: Wiring, roles: Sequence[Role] = tuple(Role)) -> dict[str, int]:
    """Plans and makes every judgement that is due; answers how many by role."""
    while parts.plan.step():
        pass
    parts.recheck.step()
    return asyncio.run(_judge(parts, [role for role in roles if role in parts.roles]))


async def _judge(parts: Wiring, roles: Sequence[Role]) -> dict[str, int]:
    counts = {role.value: 0 for role in roles}
    if not roles:
        return counts
    try:
        for role in roles:
            while done := await parts.judge_stage.step(role):
                counts[role.value] += done
    finally:
        for built in parts.judges.values():
            await built.close()
        del parts.judge_stage, parts.judges  # their connections belong to the loop that ends here
    return counts


@dataclass(frozen=True, slots=True)
class Curated:
    """What curating came to: preferences that are stored, what was sampled, and what waits: why nothing more
    is sampled, and by role how many judgements are open and one of their errors.
    """

    preferences: int
    sampled: Batch
    sampling_waits: str
    judgements: Mapping[str, tuple[int, str]]


def curate(parts: Wiring) -> Curated:
    """Samples, judges and curates until nothing changes, without waiting for more to sample with."""
    while parts.curate.step(at_once=True) + sum(judge(parts).values()):
        pass
    return Curated(
        preferences=parts.store.read(preferences.count),
        sampled=parts.curate.sampling.totals,
        sampling_waits=parts.curate.sampling.waits_for(at_once=True) or "",
        judgements=parts.store.read(waiting),
    )


def train(
    parts: Wiring,
    *,
    snapshot: str | None,
    actor: str,
    method: str | None = None,
    on_plan: Callable[[Plan], None] | None = None,
) -> RunOutcome:
    """Trains on a snapshot: by its id, by the path of a snapshot file, or on one that is frozen now.

    `method` None: by the policy's (first) recipe.
    """
    recipe = recipe_for(parts, method)
    parts.trainer.recover()
    if snapshot is None:
        stored, least = _stored(parts)
        if stored < least:
            raise UsageError(f"{stored} preferences are stored; training.min_preferences asks for {least}")
        snapshot = parts.curate.freeze().id
    elif Path(snapshot).is_file():
        snapshot = _register(parts, Path(snapshot), note=f"given by {actor}")
    return parts.trainer.train(snapshot, actor=actor, recipe=recipe, on_plan=on_plan)


def recipe_for(parts: Wiring, method: str | None) -> Recipe:
    """Raises UsageError for a method that there is not."""
    policy = parts.settings.policy
    try:
        return policy.recipe if method is None else policy.recipe_of(method)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"method {method}: {problem['msg']}") from None


def rewards(parts: Wiring) -> list[dict[str, Any]]:
    """Decides on every reward model that is held; answers all of them, newest first."""
    while parts.releases.step():
        pass
    found = parts.store.read(rewardmodels.newest)
    return [{name: getattr(each, name) for name in REWARD_LISTED} for each in found]


def plan(parts: Wiring, *, snapshot: str | None, method: str | None = None) -> Outlook:
    """What `train` would do with the same snapshot. Nothing is frozen, stored or halted by it."""
    recipe = recipe_for(parts, method)
    if snapshot is not None:
        if Path(snapshot).is_file():
            return parts.planner.plan(_read(Path(snapshot)).id, Path(snapshot).resolve(), recipe=recipe)
        known = parts.store.read(lambda c: frozen.get(c, snapshot))
        if known is None:
            raise UsageError(f"there is no snapshot {snapshot[:12]}")
        return parts.planner.plan(known.id, parts.settings.state_dir / known.path, recipe=recipe)
    stored, least = _stored(parts)
    few = f"{stored} preferences are stored: training.min_preferences asks for {least} before a run starts"
    _, pairs, left_out = parts.curate.drafted()
    capped = f"{left_out} preferences are left out by policy.curation's caps"
    with tempfile.TemporaryDirectory(prefix="rlaifd-plan-") as folder:
        name, path = snapshots.write(Path(folder), parts.settings.policy.name, pairs)
        notes = [note for note, holds in ((few, stored < least), (capped, left_out > 0)) if holds]
        return parts.planner.plan(name, path, recipe=recipe, notes=tuple(notes))


def _stored(parts: Wiring) -> tuple[int, int]:
    """How many preferences there are, and how many a run takes."""
    return parts.store.read(preferences.count), parts.settings.training.min_preferences


def _register(parts: Wiring, file: Path, *, note: str) -> str:
    """Takes a snapshot file in; answers its id. Raises UsageError for a file that is not a snapshot."""
    given = _read(file)
    name, path = snapshots.write(parts.settings.state_dir / "snapshots", given.policy, given.pairs)
    ids = [pair.preference for pair in given.pairs]
    now = parts.clock.now()
    parts.store.write(lambda c: preferences.store_snapshot(c, name, str(path), ids, note=note, now=now))
    return name


def _read(file: Path) -> snapshots.Snapshot:
    try:
        return snapshots.read(file)
    except snapshots.SnapshotError as error:
        raise UsageError(str(error)) from None


def evaluate(parts: Wiring, adapter: str | None) -> list[dict[str, Any]]:
    """Takes one adapter, or every undecided one, through the gate; answers the decisions."""
    if adapter is not None:
        parts.evaluate.open(adapter)
    decided: dict[str, dict[str, Any]] = {}
    while advance := parts.evaluate.advance():
        if advance.decision is not None:
            decided[advance.adapter] = {
                "adapter": advance.adapter,
                "decision": advance.decision,
                "reasons": list(advance.reasons),
            }
            if advance.did == "reconsidered":
                break
        elif advance.did == "sampled":
            judge(parts, (Role.GATE,))
        elif advance.did == "waiting" and not judge(parts, (Role.GATE,)).get(Role.GATE.value):
            break
    return list(decided.values())


REWARD_LISTED = (
    *("name", "state", "reasons", "missing", "labels", "base_model", "run_id", "created_at", "decided_at"),
)
LISTED = ("name", "base_model", "parent", "run_id", "created_at", "quarantined_at", "quarantine_reason")


def adapters(parts: Wiring) -> list[dict[str, Any]]:
    """Every published adapter, newest first, with its last decision."""
    return parts.store.read(_adapters)


def _adapters(connection: Connection) -> list[dict[str, Any]]:
    stable = rollouts.in_force(connection).stable
    found = []
    for adapter in newest(connection):
        evaluation = latest(connection, adapter.name)
        cut = cut_off(evaluation.evidence) if evaluation else None
        found.append(
            {
                **{name: getattr(adapter, name) for name in LISTED},
                "base_digest": adapter.manifest.get("base_digest"),
                "in_force": adapter.name == stable,
                "decision": evaluation.decision if evaluation else None,
                "reasons": list(evaluation.reasons) if evaluation else [],
                "cut_off": None if cut is None else cut.counts,
            }
        )
    return found
