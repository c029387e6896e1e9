"""Snapshots: which preferences a frozen file holds. The file itself is under the state directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from sqlalchemy import Connection, Row, Table, func, inspect, select

from daemon.store.tables import RunRow, SnapshotRow

SNAPSHOT = cast(Table, inspect(SnapshotRow).local_table)
RUN = cast(Table, inspect(RunRow).local_table)

MOST = 16
"""Snapshots of which the preferences are read at once."""
Holds = Literal["preference_ids", "candidate_ids", "trace_ids"]
"""The columns that say what a snapshot holds."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a snapshot holds: preferences, or candidates where it holds answers by themselves, or traces where
    it holds prompts.

    Beside preferences there may be `labelled` pairs, which people's labels of the ids `label_ids` made.
    """

    preference_ids: Sequence[int] = ()
    candidate_ids: Sequence[int] | None = None
    trace_ids: Sequence[int] | None = None
    label_ids: Sequence[int] | None = None
    labelled: int = 0

    def __len__(self) -> int:
        others = (self.candidate_ids, self.trace_ids)
        return len(next((ids for ids in others if ids is not None), self.preference_ids)) + self.labelled


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A frozen set of preferences, or of answers. `path` is relative to the state directory, or absolute."""

    id: str
    path: str
    pairs: int
    preference_ids: tuple[int, ...]
    note: str
    created_at: float
    left_out: Mapping[str, int] | None
    """What is not in it, by why; None where nobody counted."""
    candidate_ids: tuple[int, ...] | None = None
    """Of the answers that it holds by themselves; None: it holds something else."""
    trace_ids: tuple[int, ...] | None = None
    """Of the events whose prompts it holds; None: it holds something else."""
    label_ids: tuple[int, ...] | None = None
    """Of people's labels that made pairs of it; None: none did."""

    @property
    def of_pairs(self) -> bool:
        """Whether it holds pairs."""
        return self.candidate_ids is None and self.trace_ids is None


def get(connection: Connection, snapshot_id: str) -> StoredSnapshot | None:
    """The snapshot with that id."""
    found = connection.execute(select(SNAPSHOT).where(SNAPSHOT.c.id == snapshot_id)).one_or_none()
    return None if found is None else _snapshot(found)


def starting(connection: Connection, prefix: str) -> list[StoredSnapshot]:
    """The snapshots whose id begins so, two at most."""
    query = select(SNAPSHOT).where(SNAPSHOT.c.id.startswith(prefix, autoescape=True)).limit(2)
    return [_snapshot(row) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class SnapshotTally:
    """How many pairs the newest snapshot has, and how many preferences are not in it, by why."""

    id: str
    pairs: int
    left_out: Mapping[str, int]
    created_at: float


def newest(connection: Connection) -> SnapshotTally | None:
    """The snapshot that was frozen last, without its many ids."""
    columns = (SNAPSHOT.c[name] for name in ("id", "pairs", "left_out", "created_at"))
    query = select(*columns).order_by(SNAPSHOT.c.created_at.desc()).limit(1)
    found = connection.execute(query).one_or_none()
    return (
        None
        if found is None
        else SnapshotTally(found.id, found.pairs, found.left_out or {}, found.created_at)
    )


def learned(
    connection: Connection, what: Holds = "preference_ids", *, method: str | None = None
) -> frozenset[int]:
    """What snapshots hold that runs (by the method; None: by any) learned from: of `MOST` of these, evenly
    from first to last.

    Each holds many of the one before, so that few of them know nearly all.
    """
    column = SNAPSHOT.c[what]
    query = select(RUN.c.snapshot_id).where(RUN.c.state == "done")
    if method is not None:
        query = query.where(RUN.c.recipe["method"].as_string() == method)
    ids = connection.scalars(query.group_by(RUN.c.snapshot_id).order_by(func.min(RUN.c.started_at))).all()
    some = ids if len(ids) <= MOST else [ids[round(at * (len(ids) - 1) / (MOST - 1))] for at in range(MOST)]
    held = connection.scalars(select(column).where(SNAPSHOT.c.id.in_(some)))
    return frozenset(each for found in held for each in found or ())


def _snapshot(row: Row[Any]) -> StoredSnapshot:
    return StoredSnapshot(
        row.id,
        row.path,
        row.pairs,
        tuple(row.preference_ids),
        row.note,
        row.created_at,
        row.left_out,
        _ids(row.candidate_ids),
        _ids(row.trace_ids),
        _ids(row.label_ids),
    )


def _ids(stored: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if stored is None else tuple(stored)
