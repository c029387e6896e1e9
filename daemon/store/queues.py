"""What waits for a judge: how old it is, and why it was put back.

A queue may hold millions, and is kept in the order in which it is due. So what is said of it is said of both
its ends: what comes next, and what was put back for longest.
"""

from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Column, Connection, Select, Table, func, inspect, select

from daemon.store.tables import JudgementRow

JUDGEMENT = cast(Table, inspect(JudgementRow).local_table)
_C = JUDGEMENT.c
LOOKED_AT = 200
"""Judgements at each end."""
COUNTED = 10_000
"""Judgements that wait for a time are counted so far."""


@dataclass(frozen=True, slots=True)
class Queue:
    """One judge's open judgements. Times are seconds since the epoch.

    `oldest` was asked for first of those looked at. `later` wait for a time to come, the next of them for
    `due_at`. `error` is with what one was put back, "" where none was.
    """

    oldest: float | None = None
    later: int = 0
    due_at: float | None = None
    error: str = ""


def look(connection: Connection, judge: str, *, now: float = 0.0) -> Queue:
    """The judge's queue. Nothing that `now` is behind counts as due."""
    columns = (_C.created_at, _C.error)
    first = connection.execute(_open(judge, *columns).order_by(_C.not_before, _C.id).limit(LOOKED_AT)).all()
    last = connection.execute(
        _open(judge, *columns).order_by(_C.not_before.desc(), _C.id.desc()).limit(LOOKED_AT)
    ).all()
    later = _open(judge, _C.not_before).where(_C.not_before > now).order_by(_C.not_before)
    some = later.limit(COUNTED).subquery()
    counted = connection.execute(select(func.count(), func.min(some.c.not_before))).one()
    return Queue(
        oldest=min((row.created_at for row in (*first, *last)), default=None),
        later=counted[0],
        due_at=counted[1],
        error=next((row.error for row in (*last, *first) if row.error), ""),
    )


def _open(judge: str, *columns: Column[Any]) -> Select[Any]:
    return select(*columns).where(_C.state == "open", _C.judge == judge)
