"""Snapshots: which preferences a frozen file holds. The file itself is under the state directory."""

from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Row, Table, inspect, select

from daemon.store.tables import SnapshotRow

SNAPSHOT = cast(Table, inspect(SnapshotRow).local_table)


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A frozen set of preferences. `path` is relative to the state directory, or absolute."""

    id: str
    path: str
    pairs: int
    preference_ids: tuple[int, ...]
    note: str
    created_at: float


def get(connection: Connection, snapshot_id: str) -> StoredSnapshot | None:
    """The snapshot with that id."""
    found = connection.execute(select(SNAPSHOT).where(SNAPSHOT.c.id == snapshot_id)).one_or_none()
    return None if found is None else _snapshot(found)


def _snapshot(row: Row[Any]) -> StoredSnapshot:
    return StoredSnapshot(row.id, row.path, row.pairs, tuple(row.preference_ids), row.note, row.created_at)
