"""One stage to its end, as the commands run it: the daemon's own steps, in a loop until nothing is left."""

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from connectors.decoders.detect import Decoders
from daemon.errors import UsageError
from daemon.outlook import Outlook
from daemon.runrows import RunOutcome
from daemon.stages.ingest import ingest_file
from daemon.stages.sampling import Batch
from daemon.store import preferences, rollouts
from daemon.store import snapshots as frozen
from daemon.store.adapters import newest
from daemon.store.evaluations import cut_off, latest
from daemon.store.judgements import waiting
from daemon.store.traces import Counts
from daemon.wiring import Wiring
from policies import answers
from policies import snapshot as snapshots
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
    parts: Wiring, *, snapshot: str | None, actor: str, on_plan: Callable[[Plan], None] | None = None
) -> RunOutcome:
    """Trains on a snapshot: by its id, by the path of a snapshot file, or on one that is frozen now."""
    parts.trainer.recover()
    if snapshot is None:
        stored, called, least = _stored(parts)
        if stored < least:
            raise UsageError(f"{stored} {called} are stored; training.min_preferences asks for {least}")
        snapshot = parts.curate.freeze().id
    elif Path(snapshot).is_file():
        snapshot = _register(parts, Path(snapshot), note=f"given by {actor}")
    return parts.trainer.train(snapshot, actor=actor, on_plan=on_plan)


def plan(parts: Wiring, *, snapshot: str | None) -> Outlook:
    """What `train` would do with the same snapshot. Nothing is frozen, stored or halted by it."""
    if snapshot is not None:
        if Path(snapshot).is_file():
            return parts.planner.plan(_read(Path(snapshot)).id, Path(snapshot).resolve())
        known = parts.store.read(lambda c: frozen.get(c, snapshot))
        if known is None:
            raise UsageError(f"there is no snapshot {snapshot[:12]}")
        return parts.planner.plan(known.id, parts.settings.state_dir / known.path)
    stored, called, least = _stored(parts)
    few = f"{stored} {called} are stored: training.min_preferences asks for {least} before a run starts"
    with tempfile.TemporaryDirectory(prefix="rlaifd-plan-") as folder:
        name, path, left_out = parts.curate.draft_into(Path(folder))
        notes = [note for note, holds in ((few, stored < least), (left_out, left_out)) if holds]
        return parts.planner.plan(name, path, notes=tuple(notes))


def _stored(parts: Wiring) -> tuple[int, str, int]:
    """How much there is to learn from, what it is called, and how much a run takes."""
    return *parts.curate.stored(), parts.settings.training.min_preferences


def _register(parts: Wiring, file: Path, *, note: str) -> str:
    """Takes a snapshot file in; answers its id. Raises UsageError for a file that is not a snapshot."""
    given = _read(file)
    into, now = parts.settings.state_dir / "snapshots", parts.clock.now()
    ids: list[int] = []
    candidates: list[int] | None = None
    if isinstance(given, answers.Answers):
        name, path = answers.write(into, given.policy, given.answers)
        candidates = [answer.candidate for answer in given.answers]
    else:
        name, path = snapshots.write(into, given.policy, given.pairs)
        ids = [pair.preference for pair in given.pairs]
    parts.store.write(lambda c: preferences.store_snapshot(c, name, str(path), ids, note=note, now=now,
                                                           candidate_ids=candidates))  # fmt: skip
    return name


def _read(file: Path) -> snapshots.Snapshot | answers.Answers:
    try:
        return answers.read(file) if answers.holds_answers(file) else snapshots.read(file)
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
