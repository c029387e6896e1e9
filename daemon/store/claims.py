"""Claims: who works on which open judgement, and until when.

A claim is one short transaction that writes owner, token and expiry; no transaction is held while the work is
done. The commit of the work checks the token, so that a worker that was thought dead cannot finish what
another has taken over. Callers pass a connection of `store.write`: on SQLite that transaction is the only
writer (BEGIN IMMEDIATE), on PostgreSQL rows locked by another claimer are skipped (SKIP LOCKED).
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from sqlalchemy import Connection, Row, Table, Update, inspect, or_, select, update

from daemon.store.tables import JudgementRow
from policies.records import Role

JUDGEMENT = cast(Table, inspect(JudgementRow).local_table)
_C = JUDGEMENT.c


@dataclass(frozen=True, slots=True)
class Claim:
    """One judgement in our hands until its expiry. `attempts` counts claims, this one included."""

    id: int
    key: str
    judge: str
    role: Role
    kind: str
    purpose: str
    trace_id: int
    candidate_id: int
    other_id: int | None
    evaluation_id: int | None
    probability: float
    attempts: int
    owner: str
    token: str


def claim(
    connection: Connection, *, judge: str, owner: str, now: float, expires_at: float, limit: int
) -> list[Claim]:
    """Takes up to `limit` open judgements of the judge that are due, oldest due first, ties by id.

    Work whose claim has expired is taken over; `attempts` rises with every claim, so that an item on which
    workers die is seen. All claims of one call share a token.
    """
    due = (
        select(_C.id)
        .where(_C.state == "open", _C.judge == judge, _C.not_before <= now)
        .where(or_(_C.token.is_(None), _C.expires_at <= now))
        .order_by(_C.not_before, _C.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    # The rows are locked by a statement of their own: as a sub-query of the UPDATE, LIMIT may be run twice.
    ids = connection.scalars(due).all()
    if not ids:
        return []
    token = secrets.token_hex(16)
    taken = connection.execute(
        update(JUDGEMENT)
        .where(_C.id.in_(ids))
        .values(owner=owner, token=token, expires_at=expires_at, attempts=_C.attempts + 1)
        .returning(JUDGEMENT)
    ).all()
    return [_claim(row) for row in _in_order(taken, ids)]


def release(
    connection: Connection, claim: Claim, *, not_before: float | None, error: str, counts: bool = True
) -> bool:
    """Puts the judgement back for later, with the reason. False: the token is no longer ours.

    `not_before` None: it is due when it was. `counts`: the claim was an attempt on it.
    """
    put_back = update(JUDGEMENT).values(
        owner=None,
        token=None,
        expires_at=None,
        error=error,
        not_before=_C.not_before if not_before is None else not_before,
        attempts=_C.attempts - (0 if counts else 1),
    )
    return _mine(connection, put_back, claim)


def finish(
    connection: Connection,
    claim: Claim,
    *,
    state: Literal["done", "failed"],
    now: float,
    error: str | None = None,
) -> bool:
    """Closes the judgement. False: the token is no longer ours, and the caller's results must not be stored.

    Call it first in the transaction that stores the results: on PostgreSQL it locks the row until the commit.
    """
    close = update(JUDGEMENT).values(state=state, done_at=now, token=None, expires_at=None, error=error)
    return _mine(connection, close, claim)


def _mine(connection: Connection, change: Update, claim: Claim) -> bool:
    ours = (_C.id == claim.id, _C.token == claim.token, _C.state == "open")
    return connection.execute(change.where(*ours)).rowcount == 1


def _in_order(rows: Sequence[Row[Any]], ids: Sequence[int]) -> list[Row[Any]]:
    by_id = {row.id: row for row in rows}
    return [by_id[judgement] for judgement in ids]


def _claim(row: Row[Any]) -> Claim:
    return Claim(
        id=row.id,
        key=row.key,
        judge=row.judge,
        role=Role(row.role),
        kind=row.kind,
        purpose=row.purpose,
        trace_id=row.trace_id,
        candidate_id=row.candidate_id,
        other_id=row.other_id,
        evaluation_id=row.evaluation_id,
        probability=row.probability,
        attempts=row.attempts,
        owner=row.owner,
        token=row.token,
    )
