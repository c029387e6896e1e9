"""Calls to judges, whole, whatever became of them; and those answers that need not be paid for again."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Table, func, insert, inspect, select

from daemon.store.tables import JudgeCallRow

CALL = cast(Table, inspect(JudgeCallRow).local_table)
UNFIT = ("cut_off", "unreadable")
"""Outcomes of calls that were served, and perhaps billed, without a judgement in the answer."""


def record(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Stores calls (columns of JudgeCallRow). Where an answer to the same question is already stored, this
    one is kept as well, without its `reuse_key`.
    """
    keys = [row["reuse_key"] for row in rows if row["reuse_key"] is not None]
    taken = set(connection.scalars(select(CALL.c.reuse_key).where(CALL.c.reuse_key.in_(keys))))
    fresh: list[Mapping[str, Any]] = []
    for row in rows:
        key = row["reuse_key"]
        fresh.append({**row, "reuse_key": None} if key in taken else row)
        if key is not None:
            taken.add(key)
    if fresh:
        connection.execute(insert(CALL), [dict(row) for row in fresh])


def reusable(connection: Connection, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Those of the keys to which a usable answer is stored, with what was read from it and its model."""
    query = select(CALL.c.reuse_key, CALL.c.response).where(CALL.c.reuse_key.in_(keys))
    return {row.reuse_key: row.response for row in connection.execute(query)}


def unfit(connection: Connection, judgement_id: int) -> int:
    """How many answers were served for a judgement that hold no judgement to read: cut off, or no answer."""
    query = select(func.count()).where(CALL.c.judgement_id == judgement_id, CALL.c.outcome.in_(UNFIT))
    return int(connection.scalar(query) or 0)
