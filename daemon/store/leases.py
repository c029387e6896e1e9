"""Leases with a fencing epoch, in the caller's transaction. `daemon.service.lease` is the way in.

Time is the database server's on PostgreSQL, so that machines whose clocks differ agree; on SQLite, which is
one machine, it is the caller's.
"""

from typing import cast

from sqlalchemy import (
    DOUBLE_PRECISION,
    ColumnElement,
    Connection,
    Table,
    func,
    inspect,
    literal,
    or_,
    select,
    update,
)

from daemon.store.inserts import insert_of
from daemon.store.tables import LeaseRow

LEASE = cast(Table, inspect(LeaseRow).local_table)
_C = LEASE.c
SLACK_S = 1.0


def acquire(connection: Connection, *, name: str, owner: str, ttl_s: float, now: float) -> int | None:
    """Takes the lease when nobody holds it; returns its new epoch, higher than any before. None: it is held.

    An expiry further away than one `ttl_s` was written before the clock was set back, and counts as passed.
    """
    time = _time(connection, now)
    first = insert_of(connection, LEASE).values(name=name, owner=owner, epoch=1, expires_at=time + ttl_s)
    free = or_(_C.expires_at <= time, _C.expires_at > time + ttl_s + SLACK_S)
    take = first.on_conflict_do_update(
        index_elements=["name"],
        set_={"owner": owner, "epoch": _C.epoch + 1, "expires_at": time + ttl_s},
        where=free,
    ).returning(_C.epoch)
    epoch: int | None = connection.scalar(take)
    return epoch


def renew(connection: Connection, *, name: str, owner: str, epoch: int, ttl_s: float, now: float) -> bool:
    """Moves the expiry. False: the lease has run out or is another's; what it guarded must stop."""
    time = _time(connection, now)
    ours = (_C.name == name, _C.owner == owner, _C.epoch == epoch, _C.expires_at > time)
    return connection.execute(update(LEASE).where(*ours).values(expires_at=time + ttl_s)).rowcount == 1


def release(connection: Connection, *, name: str, owner: str, epoch: int) -> bool:
    """Gives the lease up. The epoch stays, so that the next one is higher."""
    ours = (_C.name == name, _C.owner == owner, _C.epoch == epoch)
    return connection.execute(update(LEASE).where(*ours).values(expires_at=0.0)).rowcount == 1


def holds(connection: Connection, name: str, owner: str, epoch: int, now: float) -> bool:
    """Whether the lease is still this owner's, at this epoch.

    Inside `store.write` the answer stays true until the commit: on PostgreSQL the row is locked, on SQLite
    nobody else writes. So an effect stored in the same transaction is fenced.
    """
    ours = (_C.name == name, _C.owner == owner, _C.epoch == epoch, _C.expires_at > _time(connection, now))
    check = select(_C.epoch).where(*ours)
    if not connection.get_execution_options().get("rlaifd_readonly", False):
        check = check.with_for_update(read=True)
    return connection.scalar(check) is not None


def _time(connection: Connection, now: float) -> ColumnElement[float]:
    if connection.dialect.name == "postgresql":
        return func.extract("epoch", func.clock_timestamp()).cast(DOUBLE_PRECISION)
    return literal(now)
