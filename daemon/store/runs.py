"""Training runs: begun, followed, ended once."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Row, Select, Table, func, insert, inspect, select, update

from daemon.store.tables import EvaluationRow, RewardModelRow, RunRow
from policies.recipes import DpoRecipe
from policies.training.layout import TrainState

RUN = cast(Table, inspect(RunRow).local_table)
EVALUATION = cast(Table, inspect(EvaluationRow).local_table)
REWARD_MODEL = cast(Table, inspect(RewardModelRow).local_table)
State = TrainState
LEARNED: tuple[str, ...] = ("running", "done", "unchanged", "halted")
"""The states of a run that saw its preferences to the end, or will: the same ones need no further run."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One training run. `parent` None: it began from the base model; `adapter` is what it published.

    `recipe` is what was asked, until the run's plan has made every number explicit.
    """

    id: str
    snapshot_id: str
    recipe: dict[str, Any]
    state: str
    step: int
    reason: str
    parent: str | None
    adapter: str | None
    result: dict[str, Any] | None
    started_at: float
    finished_at: float | None


def begin(
    connection: Connection,
    *,
    run: str,
    snapshot_id: str,
    recipe: dict[str, Any],
    parent: str | None,
    pid: int,
    now: float,
) -> None:
    """Stores a run as running. `pid` is the process that supervises it."""
    row = {
        "id": run,
        "snapshot_id": snapshot_id,
        "recipe": recipe,
        "state": "running",
        "step": 0,
        "reason": "",
        "parent": parent,
        "pid": pid,
        "started_at": now,
    }
    connection.execute(insert(RUN).values(row))


def resume(connection: Connection, run: str, *, pid: int, now: float) -> bool:
    """Makes an ended run running again; False if it is not one that can go on.

    Its start moves too: what asks when training last started must see this one.
    """
    done = connection.execute(
        update(RUN)
        .where(RUN.c.id == run, RUN.c.state.in_(("stopped", "failed")))
        .values(state="running", reason="", finished_at=None, started_at=now, pid=pid)
    )
    return done.rowcount == 1


def decide(connection: Connection, run: str, *, recipe: dict[str, Any]) -> None:
    """Notes the recipe of a running run as it is carried out, with every number explicit."""
    connection.execute(update(RUN).where(RUN.c.id == run, RUN.c.state == "running").values(recipe=recipe))


def advance(connection: Connection, run: str, *, step: int) -> None:
    """Notes how far a running run is."""
    connection.execute(update(RUN).where(RUN.c.id == run, RUN.c.state == "running").values(step=step))


def end(
    connection: Connection,
    run: str,
    *,
    state: State,
    reason: str,
    now: float,
    step: int | None = None,
    adapter: str | None = None,
    result: dict[str, Any] | None = None,
) -> bool:
    """Ends a running run; False if it was not running."""
    values: dict[str, Any] = {"state": state, "reason": reason, "finished_at": now, "adapter": adapter}
    if result is not None:
        values["result"] = result
    if step is not None:
        values["step"] = step
    done = connection.execute(update(RUN).where(RUN.c.id == run, RUN.c.state == "running").values(values))
    return done.rowcount == 1


def abandon(
    connection: Connection, *, gone: Callable[[str, int | None, float], bool], reason: str, now: float
) -> list[str]:
    """Ends as stopped every running run whose supervisor is `gone` (run, pid, start). Returns their ids.

    How often in a row that happened without a step between is noted, as of a run that failed: what takes its
    process along each time is not taken up for ever.
    """
    query = select(RUN).where(RUN.c.state == "running")
    found = [_run(row) for row in connection.execute(query) if gone(row.id, row.pid, row.started_at)]
    for run in found:
        before = run.result or {}
        attempts = 1 + (before.get("attempts", 0) if run.step <= before.get("at_step", -1) else 0)
        result = {**before, "attempts": attempts, "at_step": run.step}
        end(connection, run.id, state="stopped", reason=reason, now=now, result=result)
    return [run.id for run in found]


def get(connection: Connection, run: str) -> StoredRun | None:
    """The run with that id."""
    found = connection.execute(select(RUN).where(RUN.c.id == run)).one_or_none()
    return None if found is None else _run(found)


def learned(connection: Connection, snapshot_id: str, method: str) -> float | None:
    """When the newest run by the method started that saw the snapshot to the end; None without one."""
    query = select(RUN.c.started_at, RUN.c.recipe).where(
        RUN.c.snapshot_id == snapshot_id, RUN.c.state.in_(LEARNED)
    )
    return _last(connection, query, (method,))


def unfinished(connection: Connection, snapshot_id: str) -> list[StoredRun]:
    """The snapshot's runs that were stopped or failed, newest first."""
    query = (
        select(RUN)
        .where(RUN.c.snapshot_id == snapshot_id, RUN.c.state.in_(("stopped", "failed")))
        .order_by(RUN.c.started_at.desc(), RUN.c.id)
    )
    return [_run(row) for row in connection.execute(query)]


def cut_off(connection: Connection) -> list[StoredRun]:
    """Runs that were stopped or failed since the last one that saw its preferences to the end, newest first.
    What they began on is of now; what is older was followed by another run.
    """
    learned = last_learned(connection)
    query = select(RUN).where(RUN.c.state.in_(("stopped", "failed")))
    if learned is not None:
        query = query.where(RUN.c.started_at > learned)
    return [_run(row) for row in connection.execute(query.order_by(RUN.c.started_at.desc(), RUN.c.id))]


def newest(connection: Connection, *, limit: int = 20) -> list[StoredRun]:
    """The runs that started last, newest first."""
    query = select(RUN).order_by(RUN.c.started_at.desc(), RUN.c.id).limit(limit)
    return [_run(row) for row in connection.execute(query)]


def last_start(connection: Connection, methods: Collection[str] | None = None) -> float | None:
    """When the newest run started, seconds since the epoch; None before the first. `methods`: by one of
    them.
    """
    return _last(connection, select(RUN.c.started_at, RUN.c.recipe), methods)


def last_learned(connection: Connection, methods: Collection[str] | None = None) -> float | None:
    """When the newest run started that saw its preferences to the end; one that failed has not. `methods`: by
    one of them.
    """
    query = select(RUN.c.started_at, RUN.c.recipe).where(RUN.c.state.in_(LEARNED))
    return _last(connection, query, methods)


def _last(
    connection: Connection, query: Select[tuple[float, Any]], methods: Collection[str] | None
) -> float | None:
    for row in connection.execute(query.order_by(RUN.c.started_at.desc())):
        if methods is None or _method(row.recipe) in methods:
            return float(row.started_at)
    return None


def _method(recipe: Mapping[str, Any]) -> str:
    return str(recipe.get("method", DpoRecipe().method))


def last_failure(connection: Connection) -> float | None:
    """When a run last ended without what it was for: it failed, or a guard halted it."""
    found: float | None = connection.scalar(
        select(func.max(RUN.c.finished_at)).where(RUN.c.state.in_(("failed", "halted")))
    )
    return found


@dataclass(frozen=True, slots=True)
class Rejection:
    """That nothing came of a run on a snapshot, and why, as a person reads it."""

    run: str
    snapshot_id: str
    reason: str
    started_at: float


def rejections(
    connection: Connection, *, recipe: dict[str, Any], parent: str | None, limit: int = 20
) -> list[Rejection]:
    """Of the newest runs, those that the same recipe was asked of, from the same start, and whose adapter the
    gate rejected, whose reward model labels rejected, or that changed nothing. What a guard halted is not
    among them: a person resumes training and knows why.
    """
    found = []
    for run in newest(connection, limit=limit):
        if _asked(run) != recipe or run.parent != parent:
            continue
        why = _rejected(connection, run)
        if why is not None:
            found.append(Rejection(run.id, run.snapshot_id, why, run.started_at))
    return found


def _rejected(connection: Connection, run: StoredRun) -> str | None:
    if run.state == "unchanged":
        return f"run {run.id} changed nothing on these pairs"
    if run.adapter is not None and _decision(connection, run.adapter) == "reject":
        return f"the gate rejected {run.adapter}, which run {run.id} made of these pairs"
    query = select(REWARD_MODEL.c.name).where(
        REWARD_MODEL.c.run_id == run.id, REWARD_MODEL.c.state == "reject"
    )
    name = connection.scalar(query)
    return None if name is None else f"labels rejected {name}, which run {run.id} made of these pairs"


def _asked(run: StoredRun) -> dict[str, Any]:
    """The recipe as it was asked, before a plan made its numbers explicit."""
    planned = ((run.result or {}).get("plan") or {}).get("asked")
    return planned if isinstance(planned, dict) else run.recipe


def _decision(connection: Connection, adapter: str) -> str | None:
    query = select(EVALUATION.c.decision).where(EVALUATION.c.adapter == adapter)
    found: str | None = connection.scalar(query.order_by(EVALUATION.c.id.desc()).limit(1))
    return found


def under_way(connection: Connection) -> list[StoredRun]:
    """The runs that are under way."""
    return [_run(row) for row in connection.execute(select(RUN).where(RUN.c.state == "running"))]


def running(connection: Connection) -> bool:
    """Whether a run is under way."""
    return connection.execute(select(RUN.c.id).where(RUN.c.state == "running").limit(1)).first() is not None


def _run(row: Row[Any]) -> StoredRun:
    return StoredRun(
        row.id, row.snapshot_id, row.recipe, row.state, row.step, row.reason, row.parent, row.adapter,
        row.result, row.started_at, row.finished_at,
    )  # fmt: skip
