"""The state in force and what may come into force: epochs, quarantine, the gate's last decision.

Every change of the adapter in force is a row with the next epoch. The rows are the fence: a change is written
only on top of the epoch that its maker saw.
"""

from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Table, insert, inspect, select, update

from daemon.store import ledger
from daemon.store.tables import AdapterRow, EvaluationRow, RolloutRow
from policies.basemodel import Base
from policies.rollout import Assignment

ROLLOUT = cast(Table, inspect(RolloutRow).local_table)
ADAPTER = cast(Table, inspect(AdapterRow).local_table)
EVALUATION = cast(Table, inspect(EvaluationRow).local_table)
NO_REASON = "no reason given"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the adapter in force."""

    epoch: int
    stable: str | None
    previous: str | None
    actor: str
    reason: str
    at: float
    wish: str
    """Digest of the file that it brought into force; '' where no file did."""


@dataclass(frozen=True, slots=True)
class KnownAdapter:
    """A published adapter. `quarantine` is the reason it may not serve, None if it may."""

    name: str
    path: str
    base: Base
    quarantine: str | None


@dataclass(frozen=True, slots=True)
class LastAttempt:
    """The gate's last attempt on an adapter. `decision` is None while it is under way."""

    decision: str | None
    reasons: tuple[str, ...]
    stable: str | None
    agent_version: str | None = None
    """The version of the agent whose prompts were answered."""


def serialise(connection: Connection) -> None:
    """Makes this transaction the only one that changes the rollout, or halts."""
    ledger.lock(connection)


def in_force(connection: Connection) -> Assignment:
    """The assignment in force: the last change, the base model at epoch 0 if there was none."""
    columns = (ROLLOUT.c[name] for name in ("stable", "epoch", "canary", "share"))
    found = connection.execute(select(*columns).order_by(ROLLOUT.c.epoch.desc()).limit(1)).one_or_none()
    return Assignment(None, 0) if found is None else Assignment(*found)


def changes(connection: Connection, *, limit: int = 1000) -> list[Change]:
    """The changes, newest first."""
    query = select(ROLLOUT).order_by(ROLLOUT.c.epoch.desc()).limit(limit)
    return [
        Change(row.epoch, row.stable, row.previous, row.actor, row.reason, row.created_at, row.wish)
        for row in connection.execute(query)
    ]


def advance(
    connection: Connection,
    *,
    after: Assignment,
    stable: str | None,
    actor: str,
    reason: str,
    at: float,
    wish: str = "",
) -> Assignment | None:
    """Writes the next epoch on top of `after`; None if another change came in between."""
    if in_force(connection) != after:
        return None
    made = after.then(stable)
    row = {
        "epoch": made.epoch,
        "stable": made.stable,
        "canary": made.canary,
        "share": made.share,
        "previous": after.stable,
        "actor": actor,
        "reason": reason,
        "wish": wish,
        "created_at": at,
    }
    connection.execute(insert(ROLLOUT).values(row))
    return made


def known(connection: Connection, name: str) -> KnownAdapter | None:
    """A published adapter by its name."""
    columns = ("name", "path", "base_model", "manifest", "quarantined_at", "quarantine_reason")
    found = connection.execute(
        select(*(ADAPTER.c[each] for each in columns)).where(ADAPTER.c.name == name)
    ).one_or_none()
    if found is None:
        return None
    reason = None if found.quarantined_at is None else found.quarantine_reason or NO_REASON
    return KnownAdapter(found.name, found.path, _base(found), reason)


def bases(connection: Connection) -> dict[str, Base]:
    """What each published adapter was trained on."""
    columns = (ADAPTER.c.name, ADAPTER.c.base_model, ADAPTER.c.manifest)
    return {row.name: _base(row) for row in connection.execute(select(*columns))}


def _base(row: Any) -> Base:
    return Base(row.base_model, row.manifest.get("revision"), row.manifest.get("base_digest"))


def quarantined(connection: Connection) -> dict[str, str]:
    """The adapters that may not serve, each with the reason."""
    query = select(ADAPTER.c.name, ADAPTER.c.quarantine_reason).where(ADAPTER.c.quarantined_at.is_not(None))
    return {row.name: row.quarantine_reason or NO_REASON for row in connection.execute(query)}


def quarantine(connection: Connection, name: str, *, reason: str, at: float) -> bool:
    """Puts an adapter into quarantine; False if it is unknown or there already (the first reason stays)."""
    done = connection.execute(
        update(ADAPTER)
        .where(ADAPTER.c.name == name, ADAPTER.c.quarantined_at.is_(None))
        .values(quarantined_at=at, quarantine_reason=reason)
    )
    return done.rowcount == 1


def readmit(connection: Connection, name: str) -> bool:
    """Takes an adapter out of quarantine; False if it is unknown or not in it."""
    done = connection.execute(
        update(ADAPTER)
        .where(ADAPTER.c.name == name, ADAPTER.c.quarantined_at.is_not(None))
        .values(quarantined_at=None, quarantine_reason=None)
    )
    return done.rowcount == 1


def judged(connection: Connection, adapter: str) -> LastAttempt | None:
    """The gate's last attempt on the adapter; None if there was none."""
    names = ("state", "decision", "reasons", "stable", "agent_version")
    query = (
        select(*(EVALUATION.c[name] for name in names))
        .where(EVALUATION.c.adapter == adapter)
        .order_by(EVALUATION.c.id.desc())
        .limit(1)
    )
    found: Any = connection.execute(query).one_or_none()
    if found is None:
        return None
    decision = found.decision if found.state == "decided" else None
    return LastAttempt(decision, tuple(found.reasons), found.stable, found.agent_version)


def was_in_force(connection: Connection, name: str) -> bool:
    """Whether the adapter was in force at some epoch."""
    query = select(ROLLOUT.c.epoch).where(ROLLOUT.c.stable == name).limit(1)
    return connection.execute(query).first() is not None
