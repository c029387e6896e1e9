"""Published adapters, as rows. Their directories never change; the files: `daemon.adapters.adapters`."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Row, Table, inspect, select

from daemon.store.inserts import insert_new
from daemon.store.tables import AdapterRow

ADAPTER = cast(Table, inspect(AdapterRow).local_table)
CHUNK = 400
"""Names of one statement."""


@dataclass(frozen=True, slots=True)
class StoredAdapter:
    """A published adapter. `path` is its directory, relative to the state directory, or absolute."""

    name: str
    digest: str
    path: str
    base_model: str
    run_id: str | None
    parent: str | None
    manifest: dict[str, Any]
    created_at: float
    quarantined_at: float | None
    quarantine_reason: str | None


def record(
    connection: Connection,
    *,
    name: str,
    digest: str,
    path: str,
    base_model: str,
    run_id: str | None,
    parent: str | None,
    manifest: dict[str, Any],
    now: float,
) -> bool:
    """Stores a published adapter; False if it was there already."""
    row = {
        "name": name,
        "digest": digest,
        "path": path,
        "base_model": base_model,
        "run_id": run_id,
        "parent": parent,
        "manifest": manifest,
        "created_at": now,
    }
    return bool(insert_new(connection, ADAPTER, [row]))


def get(connection: Connection, name: str) -> StoredAdapter | None:
    """The adapter of that name."""
    found = connection.execute(select(ADAPTER).where(ADAPTER.c.name == name)).one_or_none()
    return None if found is None else _adapter(found)


def digest(connection: Connection, name: str) -> str | None:
    """The SHA-256 of the adapter's manifest; None where the adapter is unknown."""
    found: str | None = connection.scalar(select(ADAPTER.c.digest).where(ADAPTER.c.name == name))
    return found


def newest(connection: Connection) -> list[StoredAdapter]:
    """All adapters, newest first."""
    query = select(ADAPTER).order_by(ADAPTER.c.created_at.desc(), ADAPTER.c.name)
    return [_adapter(row) for row in connection.execute(query)]


def _adapter(row: Row[Any]) -> StoredAdapter:
    return StoredAdapter(
        row.name, row.digest, row.path, row.base_model, row.run_id, row.parent, row.manifest,
        row.created_at, row.quarantined_at, row.quarantine_reason,
    )  # fmt: skip


def named(connection: Connection, names: Collection[str]) -> set[str]:
    """Those of the names that are published adapters'."""
    found: set[str] = set()
    asked = sorted(names)
    for start in range(0, len(asked), CHUNK):
        query = select(ADAPTER.c.name).where(ADAPTER.c.name.in_(asked[start : start + CHUNK]))
        found |= set(connection.scalars(query))
    return found
