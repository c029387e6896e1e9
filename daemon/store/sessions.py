"""The traces of sessions, in the order in which they were stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Connection, Table, func, inspect, select

from daemon.store.tables import TraceRow
from policies.behaviour import Asked, asked
from policies.records import Message

TRACE = cast(Table, inspect(TraceRow).local_table)


@dataclass(frozen=True, slots=True)
class SessionTurn:
    """What was asked in a session. `trace_id` is the row's number."""

    trace_id: int
    source: str
    session: str
    asked: Asked


def after(connection: Connection, trace_id: int, *, before: float, limit: int) -> Sequence[SessionTurn]:
    """Traces with a session behind this one, stored before then: a transaction that still runs may hold a
    lower number than one that is done.
    """
    columns = (TRACE.c[name] for name in ("id", "source", "session", "event_id", "ts"))
    query = (
        select(*columns, TRACE.c.payload["messages"].label("messages"))
        .where(TRACE.c.id > trace_id, TRACE.c.session.is_not(None), TRACE.c.stored_at <= before)
        .order_by(TRACE.c.id)
        .limit(limit)
    )
    return [
        SessionTurn(
            row.id,
            row.source,
            row.session,
            asked(row.event_id, row.ts, [Message.model_validate(each) for each in row.messages]),
        )
        for row in connection.execute(query)
    ]


def newest(connection: Connection) -> int:
    """The number of the newest trace, 0 where there is none."""
    return connection.scalar(select(func.max(TRACE.c.id))) or 0
