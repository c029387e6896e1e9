"""Latched halts, in the caller's transaction. `daemon.latch` is the way in for everybody else."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Row, Table, func, insert, inspect, select, update

from daemon.store import ledger, marks, rollouts
from daemon.store.tables import HaltRow
from policies.halts import Evidence, steps_back
from policies.records import Scope
from policies.states import HaltSource

HALT = cast(Table, inspect(HaltRow).local_table)
_C = HALT.c


@dataclass(frozen=True, slots=True)
class HaltRequest:
    """A halt to be latched. `starts_at` tells apart the times that one fingerprint fired.

    Without a `starts_at` the fingerprint is a standing condition: it makes one halt as long as that is
    active, and a new one when it fires again after a resume.

    `evidence` is what an alert rests on: a further start without more of it does not undo a resume.
    """

    scope: Scope
    reason: str
    source: HaltSource
    actor: str
    fingerprint: str
    starts_at: str = ""
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class ActiveHalt:
    """A halt that nobody has resumed. `cleared_at`: its condition is gone, which resumes nothing."""

    id: int
    scope: Scope
    reason: str
    source: HaltSource
    actor: str
    fingerprint: str
    starts_at: str
    epoch: int
    created_at: float
    cleared_at: float | None


def latch_all(connection: Connection, requests: Iterable[HaltRequest], *, now: float) -> list[bool]:
    """Latches each in turn; returns which are new."""
    return [latch(connection, request, now=now) for request in requests]


def latch(connection: Connection, request: HaltRequest, *, now: float) -> bool:
    """Stores the halt and its ledger entry. False: it is there already, resumed or not, or a person resumed
    it and nothing was added since to what it rests on.
    """
    ledger.lock(connection)  # two equal halts at once are one
    same = (_C.scope == request.scope.value, _C.fingerprint == request.fingerprint)
    starts_at = request.starts_at
    if starts_at:
        known = connection.scalar(select(func.count()).where(*same, _C.starts_at == starts_at))
    else:
        known = connection.scalar(select(func.count()).where(*same, _C.resumed_at.is_(None)))
        starts_at = f"#{connection.scalar(select(func.count()).where(*same)) or 0}"
    if known or _is_settled(connection, request):
        return False
    values = {
        "scope": request.scope.value,
        "reason": ledger.portable(request.reason),
        "source": request.source,
        "actor": ledger.portable(request.actor),
        "fingerprint": request.fingerprint,
        "starts_at": starts_at,
    }
    epoch = rollouts.in_force(connection).epoch
    connection.execute(insert(HALT).values(**values, epoch=epoch, created_at=now))
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
    """Ends every active halt of the scope, with its ledger entry; returns how many there were."""
    ended = connection.scalars(
        update(HALT)
        .where(_C.scope == scope.value, _C.resumed_at.is_(None))
        .values(
            resumed_at=now,
            resumed_by=ledger.portable(actor),
            resume_reason=ledger.portable(reason),
            resumed_on=marks.of_all(connection),
        )
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


def leaves(connection: Connection, evidence: Evidence | None) -> int | None:
    """The epoch that an alert may move serving back from. None: none, because promotion is not halted, the
    cause has moved serving already, or a person resumed promotion and has seen all that the alert rests on.
    """
    resumed_on = connection.scalar(
        select(_C.resumed_on)
        .where(_C.scope == Scope.PROMOTION.value, _C.resumed_at.is_not(None))
        .order_by(_C.id.desc())
        .limit(1)
    )
    if _is_seen(connection, evidence, resumed_on):
        return None
    epoch = rollouts.in_force(connection).epoch
    halted_at = [halt.epoch for halt in active(connection, Scope.PROMOTION)]
    return epoch if steps_back(halted_at, epoch) else None


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


def _is_settled(connection: Connection, request: HaltRequest) -> bool:
    """Whether a person resumed the last halt of this alert, having seen all that it rests on."""
    last = connection.execute(
        select(_C.resumed_at, _C.resumed_on)
        .where(_C.scope == request.scope.value, _C.fingerprint == request.fingerprint)
        .order_by(_C.id.desc())
        .limit(1)
    ).one_or_none()
    if last is None or last.resumed_at is None:
        return False
    return _is_seen(connection, request.evidence, last.resumed_on)


def _is_seen(connection: Connection, evidence: Evidence | None, resumed_on: dict[str, Any] | None) -> bool:
    if evidence is None or resumed_on is None:
        return False
    return bool(resumed_on.get(evidence.value) == marks.of(connection, evidence))


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
        epoch=row.epoch,
        created_at=row.created_at,
        cleared_at=row.cleared_at,
    )
