"""Latched halts, in the caller's transaction. `daemon.latch` is the way in for everybody else."""

from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Row, Table, func, insert, inspect, select, update

from daemon.store import ledger
from daemon.store.tables import HaltRow
from policies.records import Scope

HALT = cast(Table, inspect(HaltRow).local_table)
_C = HALT.c


@dataclass(frozen=True, slots=True)
class HaltRequest:
    """A halt to be latched. `starts_at` tells apart the times that one fingerprint fired.

    Without a `starts_at` the fingerprint is a standing condition: it makes one halt as long as that is
    active, and a new one when it fires again after a resume.
    """

    scope: Scope
    reason: str
    source: str
    actor: str
    fingerprint: str
    starts_at: str = ""


@dataclass(frozen=True, slots=True)
class ActiveHalt:
    """A halt that nobody has resumed. `cleared_at`: its condition is gone, which resumes nothing."""

    id: int
    scope: Scope
    reason: str
    source: str
    actor: str
    fingerprint: str
    starts_at: str
    created_at: float
    cleared_at: float | None


def latch(connection: Connection, request: HaltRequest, *, now: float) -> bool:
    """Stores the halt and its ledger entry. False: it is there already, resumed or not."""
    ledger.lock(connection)  # two equal halts at once are one
    same = (_C.scope == request.scope.value, _C.fingerprint == request.fingerprint)
    starts_at = request.starts_at
    if starts_at:
        known = connection.scalar(select(func.count()).where(*same, _C.starts_at == starts_at))
    else:
        known = connection.scalar(select(func.count()).where(*same, _C.resumed_at.is_(None)))
        starts_at = f"#{connection.scalar(select(func.count()).where(*same)) or 0}"
    if known:
        return False
    values = {
        "scope": request.scope.value,
        "reason": ledger.portable(request.reason),
        "source": request.source,
        "actor": ledger.portable(request.actor),
        "fingerprint": request.fingerprint,
        "starts_at": starts_at,
    }
    connection.execute(insert(HALT).values(**values, created_at=now))
    ledger.append(
        connection,
        at=now,
        actor=request.actor,
        action="halt",
        subject=request.scope.value,
        reason=request.reason,
        detail={"source": request.source, "fingerprint": request.fingerprint, "starts_at": starts_at},
    )
    return True


def resume(connection: Connection, scope: Scope, *, actor: str, reason: str, now: float) -> int:
    """Ends every active halt of the scope, with its ledger entry; answers how many there were."""
    ended = connection.scalars(
        update(HALT)
        .where(_C.scope == scope.value, _C.resumed_at.is_(None))
        .values(resumed_at=now, resumed_by=ledger.portable(actor), resume_reason=ledger.portable(reason))
        .returning(_C.id)
    ).all()
    if ended:
        detail = {"halts": sorted(ended)}
        ledger.append(
            connection,
            at=now,
            actor=actor,
            action="resume",
            subject=scope.value,
            reason=reason,
            detail=detail,
        )
    return len(ended)


def clear(connection: Connection, *, fingerprint: str, starts_at: str, now: float) -> int:
    """Notes that the condition went away, for halts of this start, or of any where none is given."""
    gone = update(HALT).where(_C.fingerprint == fingerprint, _C.cleared_at.is_(None))
    if starts_at:
        gone = gone.where(_C.starts_at == starts_at)
    return connection.execute(gone.values(cleared_at=now)).rowcount


def active(connection: Connection, scope: Scope | None = None) -> tuple[ActiveHalt, ...]:
    """The halts that nobody has resumed, oldest first.

    Inside a `store.write` on PostgreSQL no halt can be latched or resumed between this and the commit: a
    promotion that sees none here is before any that comes.
    """
    if connection.dialect.name == "postgresql" and not _readonly(connection):
        ledger.lock(connection)
    wanted = select(HALT).where(_C.resumed_at.is_(None)).order_by(_C.id)
    if scope is not None:
        wanted = wanted.where(_C.scope == scope.value)
    return tuple(_halt(row) for row in connection.execute(wanted))


def _readonly(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("rlaifd_readonly", False))


def _halt(row: Row[Any]) -> ActiveHalt:
    return ActiveHalt(
        id=row.id,
        scope=Scope(row.scope),
        reason=row.reason,
        source=row.source,
        actor=row.actor,
        fingerprint=row.fingerprint,
        starts_at=row.starts_at,
        created_at=row.created_at,
        cleared_at=row.cleared_at,
    )
