"""The ledger: an append-only chain of state changes, each entry holding the hash of the one before.

`hash = sha256(prev + canonical JSON of the entry)`. The chain shows an edit, a removal and a reordering; a
cut tail, or a rewriting of everything, shows only against a head that was kept elsewhere, which is why
`verify` takes one. The database refuses UPDATE and DELETE besides (migration 0002).
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Row, Table, insert, inspect, select, text

from daemon.store.tables import LedgerRow
from policies.records import canonical

LEDGER = cast(Table, inspect(LedgerRow).local_table)
START = "0" * 64
LOCK = 0x6C656467  # pg_advisory_xact_lock key: one append at a time
_FIELDS = ("seq", "at", "actor", "action", "subject", "reason", "detail")
_C = LEDGER.c


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain: keep it outside the database to see a cut tail."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What a verification found. `broken_at` is the sequence number of the first entry that does not hold."""

    entries: int
    head: str
    broken_at: int | None = None
    reason: str = ""


def append(
    connection: Connection,
    *,
    at: float,
    actor: str,
    action: str,
    subject: str,
    reason: str,
    detail: dict[str, Any],
) -> int:
    """Appends one entry in the caller's transaction; returns its sequence number.

    Appends are serialised until the transaction ends: make it the last thing a long transaction does.
    """
    lock(connection)
    last = head(connection)
    entry = {
        "seq": last.seq + 1,
        "at": at,
        "actor": actor,
        "action": action,
        "subject": subject,
        "reason": reason,
        "detail": detail,
    }
    entry = portable(entry)
    connection.execute(insert(LEDGER).values(**entry, prev=last.hash, hash=_hash(last.hash, entry)))
    return last.seq + 1


def lock(connection: Connection) -> None:
    """Waits until no other transaction is appending. On SQLite a write transaction is alone anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})


def head(connection: Connection) -> Head:
    """The last entry's number and hash; number 0 where there is none."""
    last = connection.execute(select(_C.seq, _C.hash).order_by(_C.seq.desc()).limit(1)).first()
    return Head(0, START) if last is None else Head(last.seq, last.hash)


def newest(connection: Connection, *, action: str, subject: str) -> dict[str, Any] | None:
    """The detail of the last entry of an action on a subject; None: there is none."""
    wanted = select(_C.detail).where(_C.action == action, _C.subject == subject)
    found: dict[str, Any] | None = connection.scalar(wanted.order_by(_C.seq.desc()).limit(1))
    return found


def entries(
    connection: Connection,
    *,
    action: str | None = None,
    subject: str | None = None,
    actor: str | None = None,
    since: float | None = None,
    until: float | None = None,
    limit: int,
) -> list[dict[str, Any]]:
    """The newest entries that are all of this, oldest first. Times are seconds since the epoch."""
    query = select(*(_C[name] for name in (*_FIELDS, "hash")))
    for column, value in ((_C.action, action), (_C.subject, subject), (_C.actor, actor)):
        if value is not None:
            query = query.where(column == value)
    if since is not None:
        query = query.where(_C.at >= since)
    if until is not None:
        query = query.where(_C.at < until)
    newest = connection.execute(query.order_by(_C.seq.desc()).limit(limit)).mappings()
    return [dict(row) for row in newest][::-1]


def verify(connection: Connection, kept: Head | None = None) -> LedgerReport:
    """Recomputes the chain, and compares it with a head kept elsewhere where one is given."""
    wanted = select(LEDGER).order_by(_C.seq)
    with connection.execute(wanted, execution_options={"yield_per": 1000}) as rows:
        return _verified(rows, kept)


def _verified(rows: Iterable[Row[Any]], kept: Head | None) -> LedgerReport:
    previous, entries = START, 0
    for row in rows:
        if row.seq != entries + 1:
            return LedgerReport(entries, previous, entries + 1, f"entry {entries + 1} is missing")
        if row.prev != previous:
            return LedgerReport(entries, previous, row.seq, "it does not follow the entry before it")
        entry = {name: getattr(row, name) for name in _FIELDS}
        if row.hash != _hash(previous, portable(entry)):
            return LedgerReport(entries, previous, row.seq, "its content is not what was hashed")
        previous, entries = row.hash, row.seq
        if kept is not None and kept.seq == row.seq and kept.hash != row.hash:
            return LedgerReport(entries, previous, row.seq, "its hash is not that of the head kept elsewhere")
    if kept is not None and kept.seq > entries:
        return LedgerReport(entries, previous, entries + 1, f"the tail is cut: entry {kept.seq} was the head")
    return LedgerReport(entries, previous)


def _hash(previous: str, entry: dict[str, Any]) -> str:
    return hashlib.sha256(previous.encode() + canonical(entry)).hexdigest()


def portable(value: Any) -> Any:
    """The value as both databases give it back, so that it hashes the same after being stored.

    PostgreSQL's JSON keeps no difference between 1 and 1.0, and takes no NUL, no lone surrogate and no NaN.
    """
    if isinstance(value, dict):
        return {portable(str(key)): portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [portable(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return int(value) if value.is_integer() else value
    return value
