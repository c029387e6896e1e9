"""Training runs: begun, followed, ended once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Row, Table, func, insert, inspect, select, update

from daemon.store.tables import RunRow
from policies.training.jobs import TrainState

RUN = cast(Table, inspect(RunRow).local_table)
State = TrainState
LEARNED: tuple[str, ...] = ("running", "done", "unchanged", "halted")
"""The states of a run that saw its preferences to the end, or will: the same ones need no further run."""


@dataclass(frozen=True, slots=True)
class Run:
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
    """Ends as stopped every running run whose supervisor is `gone` (run, pid, start). Answers their ids."""
    query = select(RUN.c.id, RUN.c.pid, RUN.c.started_at).where(RUN.c.state == "running")
    orphans = [row.id for row in connection.execute(query) if gone(row.id, row.pid, row.started_at)]
    for run in orphans:
        end(connection, run, state="stopped", reason=reason, now=now)
    return orphans


def get(connection: Connection, run: str) -> Run | None:
    """The run with that id."""
    found = connection.execute(select(RUN).where(RUN.c.id == run)).one_or_none()
    return None if found is None else _run(found)


def learned(connection: Connection, snapshot_id: str, method: str) -> float | None:
    """When the newest run by the method started that saw the snapshot to the end; None without one."""
    query = select(RUN.c.started_at, RUN.c.recipe).where(
        RUN.c.snapshot_id == snapshot_id, RUN.c.state.in_(LEARNED)
    )
    found = [row.started_at for row in connection.execute(query) if row.recipe.get("method") == method]
    return max(found, default=None)


def unfinished(connection: Connection, snapshot_id: str) -> list[Run]:
    """The snapshot's runs that were stopped or failed, newest first."""
    query = (
        select(RUN)
        .where(RUN.c.snapshot_id == snapshot_id, RUN.c.state.in_(("stopped", "failed")))
        .order_by(RUN.c.started_at.desc(), RUN.c.id)
    )
    return [_run(row) for row in connection.execute(query)]


def newest(connection: Connection, *, limit: int = 20) -> list[Run]:
    """The runs that started last, newest first."""
    query = select(RUN).order_by(RUN.c.started_at.desc(), RUN.c.id).limit(limit)
    return [_run(row) for row in connection.execute(query)]


def last_start(connection: Connection) -> float | None:
    """When the newest run started, seconds since the epoch; None before the first."""
    found: float | None = connection.scalar(select(func.max(RUN.c.started_at)))
    return found


def last_learned(connection: Connection) -> float | None:
    """When the newest run started that saw its preferences to the end; one that failed has not."""
    query = select(func.max(RUN.c.started_at)).where(RUN.c.state.in_(LEARNED))
    found: float | None = connection.scalar(query)
    return found


def running(connection: Connection) -> bool:
    """Whether a run is under way."""
    return connection.execute(select(RUN.c.id).where(RUN.c.state == "running").limit(1)).first() is not None


def _run(row: Row[Any]) -> Run:
    return Run(
        row.id, row.snapshot_id, row.recipe, row.state, row.step, row.reason, row.parent, row.adapter,
        row.result, row.started_at, row.finished_at,
    )  # fmt: skip
