"""What the status page and `rlaifd status` show, read in one transaction so that the figures fit together."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Table, func, inspect, select

from daemon.store import tally
from daemon.store.evaluations import cut_off, newest_passed
from daemon.store.judgements import open_count
from daemon.store.snapshots import newest
from daemon.store.tables import (
    AdapterRow,
    EvaluationRow,
    HaltRow,
    PositionRow,
    RolloutRow,
    RunRow,
    SpendRow,
)
from daemon.store.tally import VerdictCount

LAST = 5


def overview(connection: Connection, *, day: str) -> dict[str, Any]:
    """Counts, the last runs and decisions, the state in force and active halts. `day` is a UTC date.

    The counts are kept, not counted: a look costs the same however much is stored.
    """
    counts = tally.read(connection)
    return {
        "records": _positions(connection),
        "traces": counts.of("trace"),
        "dead_letters": counts.of("dead_letter"),
        "judgements": counts.judgements,
        "verdicts": {judge: _verdicts(given) for judge, given in counts.given().items()},
        "labels": counts.of("label"),
        "preferences": counts.of("preference"),
        "spend": _spend(connection, day),
        "snapshot": _snapshot(connection),
        "runs": _runs(connection),
        "evaluations": _evaluations(connection),
        "adapters": _adapters(connection),
        "passed": _passed(connection),
        "rollout": _rollout(connection),
        "halts": _halts(connection),
    }


def _table(row: type[Any]) -> Table:
    table = inspect(row).local_table
    assert isinstance(table, Table)
    return table


def _rows(connection: Connection, row: type[Any], order: str, *columns: str) -> list[dict[str, Any]]:
    table = _table(row)
    query = select(*(table.c[name] for name in columns)).order_by(table.c[order].desc()).limit(LAST)
    return [dict(found) for found in connection.execute(query).mappings()]


def _positions(connection: Connection) -> dict[str, dict[str, int]]:
    t = _table(PositionRow)
    names = ("records", "stored", "duplicates", "revisions", "dead_letters", "skipped", "feedback", "spans")
    query = select(t.c.source, *(func.sum(t.c[name]).label(name) for name in names)).group_by(t.c.source)
    return {
        found["source"]: {name: int(found[name]) for name in names}
        for found in connection.execute(query).mappings()
    }


def _verdicts(given: VerdictCount) -> dict[str, Any]:
    return {
        "verdicts": given.verdicts,
        "abstentions": given.abstentions,
        "mean_reward": given.mean_reward,
    }


def _spend(connection: Connection, day: str) -> dict[str, dict[str, float]]:
    t = _table(SpendRow)
    query = select(t.c.judge, t.c.reserved_usd, t.c.settled_usd, t.c.calls).where(t.c.day == day)
    return {
        found["judge"]: {
            "reserved_usd": found["reserved_usd"],
            "settled_usd": found["settled_usd"],
            "calls": found["calls"],
        }
        for found in connection.execute(query).mappings()
    }


def _snapshot(connection: Connection) -> dict[str, Any] | None:
    """The newest one, and what is not in it."""
    found = newest(connection)
    return None if found is None else asdict(found)


def _runs(connection: Connection) -> list[dict[str, Any]]:
    columns = ("id", "state", "step", "reason", "adapter", "started_at", "finished_at")
    return _rows(connection, RunRow, "started_at", *columns)


def _evaluations(connection: Connection) -> list[dict[str, Any]]:
    columns = ("id", "adapter", "stable", "state", "decision", "reasons", "created_at", "decided_at")
    found = []
    for row in _rows(connection, EvaluationRow, "id", *columns, "evidence"):
        cut = cut_off(row.pop("evidence"))
        waiting = open_count(connection, evaluation_id=row["id"])
        found.append({**row, "cut_off": None if cut is None else cut.counts, "open": waiting})
    return found


def _adapters(connection: Connection) -> list[dict[str, Any]]:
    columns = ("name", "base_model", "parent", "run_id", "created_at", "quarantined_at", "quarantine_reason")
    return _rows(connection, AdapterRow, "created_at", *columns)


def _passed(connection: Connection) -> str | None:
    """The adapter that passed last, unless it is in force or was."""
    passed = newest_passed(connection)
    t = _table(RolloutRow)
    if passed is None:
        return None
    served = connection.execute(select(t.c.epoch).where(t.c.stable == passed.adapter).limit(1)).first()
    return passed.adapter if served is None else None


def _rollout(connection: Connection) -> dict[str, Any]:
    found = _rows(
        connection, RolloutRow, "epoch", "epoch", "stable", "previous", "actor", "reason", "created_at"
    )
    return found[0] if found else {"epoch": 0, "stable": None, "previous": None, "actor": "", "reason": ""}


def _halts(connection: Connection) -> list[dict[str, Any]]:
    t = _table(HaltRow)
    columns = (t.c.scope, t.c.reason, t.c.source, t.c.actor, t.c.created_at, t.c.cleared_at)
    query = select(*columns).where(t.c.resumed_at.is_(None)).order_by(t.c.id)
    return [dict(found) for found in connection.execute(query).mappings()]
