"""Verdicts: one per judgement, written when it ends."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Table, inspect, select

from daemon.store.inserts import insert_new
from daemon.store.tables import VerdictRow
from policies.records import Role

VERDICT = cast(Table, inspect(VerdictRow).local_table)
_C = VERDICT.c


def insert(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
    """Stores verdicts (columns of VerdictRow); a judgement that has one keeps it. Answers how many are new.

    Call it in the transaction that finished their judgements.
    """
    return len(insert_new(connection, VERDICT, rows))


def traffic_rewards(connection: Connection, role: Role) -> dict[str, list[float]]:
    """The rewards of logged traffic, oldest first, by the adapter that answered ('': the base model)."""
    query = select(_C.adapter, _C.reward).where(
        _C.role == role.value, _C.kind == "score", _C.purpose == "traffic", _C.reward.is_not(None)
    )
    found: dict[str, list[float]] = {}
    for adapter, reward in connection.execute(query.order_by(_C.id)):
        found.setdefault(adapter, []).append(float(reward))
    return found
