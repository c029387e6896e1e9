"""One stage to its end, as the commands run it: the daemon's own steps, in a loop until nothing is left."""

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection

from connectors.decoders.detect import configured
from connectors.errors import FatalError
from daemon.errors import RefusedError, UsageError
from daemon.stages.curate.sample import Batch
from daemon.stages.ingest.files import ingest_file
from daemon.stages.train.course import Course
from daemon.stages.train.outlook import Outlook
from daemon.stages.train.run_rows import RunOutcome
from daemon.stages.train.schedule import Due, short
from daemon.store import ledger, losses, outcomes, preferences, rewardmodels, stops
from daemon.store import snapshots as frozen
from daemon.store.judgements import waiting
from daemon.store.kinds import ids_of
from daemon.store.snapshots import Held
from daemon.store.traces import Counts
from daemon.wiring.parts import Wiring
from policies import answers, prompted
from policies import snapshot as snapshots
from policies.judging.judges import NamedJudge, of_roles
from policies.recipes import Recipe
from policies.records import Role
from policies.redaction import Redaction
from policies.selection import told
from policies.training.planning.plan import TrainingPlan


def ingest(parts: Wiring, file: Path) -> Counts:
    """Stores one file through the first source's decoder."""
    first = parts.settings.sources[0]
    return ingest_file(
        file,
        decoders=configured(first.decoder, first.mapping),
        store=parts.store,
        metrics=parts.metrics,
        clock=parts.clock,
        splits=parts.settings.policy.splits,
        redaction=Redaction(parts.settings.redaction.patterns),
    )


@dataclass(frozen=True, slots=True)
class JudgingResult:
    """What came of one judge's judging: verdicts, abstentions by reason, what waits by reason; and what
    stopped it, or "".
    """

    judged: int
    abstained: Mapping[str, int]
    put_back: Mapping[str, int]
    stopped: str = ""

    @property
    def ended(self) -> int:
        return self.judged + sum(self.abstained.values())


def judge(parts: Wiring, *roles: Role) -> dict[str, JudgingResult]:
    """Plans and makes every judgement that is due for judges of these roles, without one of all; returns
    what came of it by judge. A judge that is stopped stops no other.
    """
    while parts.plan.step():
        pass
    parts.recheck.step()
    before = parts.store.read(outcomes.newest)
    here = of_roles(parts.named, *(roles or Role))
    stopped = asyncio.run(_judge(parts, here))
    return {
        each.name: parts.store.read(partial(_judged, each.name, before, stopped[each.name])) for each in here
    }


def _judged(name: str, before: int, stopped: str, connection: Connection) -> JudgingResult:
    ended = outcomes.since(connection, before, name)
    return JudgingResult(ended.judged, ended.abstained, outcomes.put_back(connection, name), stopped)


async def _judge(parts: Wiring, judges: Sequence[NamedJudge]) -> dict[str, str]:
    """Why each judge made no more: what stopped it, or that its money is spent; "" where nothing is left."""
    why = {each.name: "" for each in judges}
    if not judges:
        return why
    try:
        for name in why:
            try:
                while await parts.judge_stage.step(name):
                    pass
            except FatalError as error:
                why[name] = str(error)
            else:
                why[name] = await asyncio.to_thread(parts.judge_stage.shortage, name)
    finally:
        await parts.close_judges()  # their connections belong to the loop that ends here
    return why


def reopen(parts: Wiring, *, actor: str) -> dict[str, int]:
    """Asks again for what ended without a verdict and may end otherwise as things are configured; returns how
    many judgements by judge. Each time it is asked once more: what was opened and waits is not opened twice.
    """
    return {each.name: _reopened(parts, each, actor) for each in parts.named}


def _reopened(parts: Wiring, judge: NamedJudge, actor: str) -> int:
    total, after = 0, 0
    while True:
        now = parts.clock.now()
        page = partial(outcomes.reopen, judge=judge, after=after, now=now)
        new, last = parts.store.write(page)
        total += new
        if last is None:
            break
        after = last
    total += parts.store.write(partial(outcomes.reopen_failed, judge=judge.name))
    if total:
        parts.store.write(
            lambda c: ledger.append(
                c,
                at=parts.clock.now(),
                actor=actor,
                action="judgements_reopened",
                subject=judge.name,
                reason="rlaifd judge --reopen",
                detail={"judgements": total, "version": judge.version},
            )
        )
    return total


def accept(parts: Wiring, source: str, *, actor: str) -> None:
    """Lets a stopped source go on: the run at which it stopped becomes dead letters, and the offsets that it
    lost are passed over. Raises UsageError for one that is not stopped.
    """
    now = parts.clock.now()

    def taken(connection: Connection) -> bool:
        found = [each.accept(connection, source, actor=actor, now=now) for each in (stops, losses)]
        return any(found)

    if parts.store.write(taken):
        return
    stopped = {each.source for each in parts.store.read(stops.standing)} | {
        *parts.store.read(losses.standing)
    }
    names = ", ".join(sorted(stopped)) or "none is"
    raise UsageError(f"source {source} is not stopped (stopped: {names}): nothing to accept")


@dataclass(frozen=True, slots=True)
class Curated:
    """What curating came to: preferences that are stored, what was sampled, and what waits: why nothing more
    is sampled, and by judge how many judgements are open and one of their errors.
    """

    preferences: int
    sampled: Batch
    sampling_waits: str
    judgements: Mapping[str, tuple[int, str]]


def curate(parts: Wiring) -> Curated:
    """Samples, judges and curates until nothing changes, without waiting for more to sample with."""
    parts.hearing.all()
    while parts.curate.step(at_once=True) + sum(each.ended for each in judge(parts).values()):
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
    on_plan: Callable[[TrainingPlan], None] | None = None,
) -> RunOutcome:
    """Trains on a snapshot: by its id, by the path of a snapshot file, on that of a run that was cut off, or
    on one that is frozen now.

    `method` None: by the policy's (first) recipe; a run that was cut off goes on by whichever it had.
    """
    recipe = recipe_for(parts, method)
    parts.trainer.recover()
    if snapshot is None:
        cut_off = parts.trainer.cut_off(recipes=None if method is None else (recipe,))
        course = cut_off or _frozen(parts, recipe)
        snapshot, recipe = course.snapshot, course.recipe
    elif Path(snapshot).is_file():
        snapshot = _register(parts, Path(snapshot), note=f"given by {actor}")
    return parts.trainer.train(snapshot, actor=actor, recipe=recipe, on_plan=on_plan)


def _frozen(parts: Wiring, recipe: Recipe) -> Course:
    parts.hearing.all()
    frozen = parts.occasion.freeze(recipe)
    if isinstance(frozen, Due):
        raise RefusedError(frozen.reason)
    return Course(frozen.id, recipe)


def recipe_for(parts: Wiring, method: str | None) -> Recipe:
    """The policy's first recipe, or that of the method. Raises UsageError for a method that there is not."""
    policy = parts.settings.policy
    try:
        return policy.recipe if method is None else policy.recipe_of(method)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"method {method}: {problem['msg']}") from None


def rewards(parts: Wiring) -> list[dict[str, Any]]:
    """Decides on every reward model that is held; returns all of them, newest first."""
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
    feed = parts.occasion.feed(recipe)
    draft = feed.freezing.drafted()
    waits = short(feed.material(), parts.occasion.terms)
    left_out = f"left out: {told(draft.left_out)}" if draft.left_out else ""
    notes = (left_out,) if waits is None else (waits.reason,)
    with tempfile.TemporaryDirectory(prefix="rlaifd-plan-") as folder:
        name, path = feed.freezing.write_file(draft, Path(folder))
        return parts.planner.plan(name, path, recipe=recipe, notes=tuple(filter(None, notes)))


def _register(parts: Wiring, file: Path, *, note: str) -> str:
    """Takes a snapshot file in; returns its id. Raises UsageError for a file that is not a snapshot."""
    given = _read(file)
    into, now = parts.settings.state_dir / "snapshots", parts.clock.now()
    if isinstance(given, answers.Answers):
        name, path = answers.write(into, given.policy, given.answers)
        held = Held(candidate_ids=ids_of(given.answers))
    elif isinstance(given, prompted.Prompts):
        name, path = prompted.write(into, given.policy, given.prompts)
        held = Held(trace_ids=[prompt.trace for prompt in given.prompts])
    else:
        name, path = snapshots.write(into, given.policy, given.pairs)
        judged = [pair.preference for pair in given.pairs if pair.source == "judges"]
        held = Held(judged, labelled=len(given.pairs) - len(judged))
    parts.store.write(lambda c: preferences.store_snapshot(c, name, str(path), held, note=note, now=now))
    return name


def _read(file: Path) -> snapshots.Snapshot | answers.Answers | prompted.Prompts:
    try:
        if prompted.holds_prompts(file):
            return prompted.read(file)
        return answers.read(file) if answers.holds_answers(file) else snapshots.read(file)
    except snapshots.SnapshotError as error:
        raise UsageError(str(error)) from None


def _judged_for_gate(parts: Wiring) -> bool:
    """Whether a judge of the gate's ended anything."""
    return any(each.ended for each in judge(parts, Role.GATE).values())


def evaluate(parts: Wiring, adapter: str | None) -> list[dict[str, Any]]:
    """Takes one adapter, or every undecided one, through the gate; returns the decisions."""
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
            judge(parts, Role.GATE)
        elif advance.did == "waiting" and not _judged_for_gate(parts):
            break
    return list(decided.values())


REWARD_LISTED = (
    *("name", "state", "reasons", "missing", "labels", "base_model", "run_id", "created_at", "decided_at"),
)
