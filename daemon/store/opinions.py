"""What users think of the newest answers, by the adapter that gave them."""

from collections import Counter
from collections.abc import Iterator
from typing import cast

from sqlalchemy import ColumnElement, Connection, Table, func, inspect, select

from daemon.store import joined
from daemon.store.tables import FeedbackRow, TraceRow
from policies.feedback import Remark, of_answer
from policies.records import Trace

TRACE = cast(Table, inspect(TraceRow).local_table)
FEEDBACK = cast(Table, inspect(FeedbackRow).local_table)

LOOKED_AT = 5000
"""Newest answers."""


def looked_at(connection: Connection) -> Counter[str]:
    """How many of the newest answers each adapter gave ('' for the base model)."""
    query = select(TRACE.c.adapter, func.count()).where(_newest()).group_by(TRACE.c.adapter)
    counts: Counter[str] = Counter()
    for adapter, count in connection.execute(query):
        counts[adapter or ""] += count
    return counts


def told(connection: Connection) -> Iterator[tuple[str, tuple[Remark, ...]]]:
    """Of each of the newest answers of which something is said: its adapter, and what stands."""
    commented = TRACE.c.payload["feedback"].as_string() != "[]"
    said = TRACE.c.id.in_(select(FEEDBACK.c.answer_id).where(FEEDBACK.c.answer_id > _before()))
    query = select(TRACE.c.id, TRACE.c.adapter, TRACE.c.payload).where(_newest(), commented | said)
    rows = connection.execute(query).all()
    events = joined.said_of(connection, [row.id for row in rows])
    for row in rows:
        trace = Trace.model_validate(row.payload)
        standing = of_answer(trace, events.get(row.id, ()))
        yield row.adapter or "", tuple(Remark(each.form, each.said) for each in standing)


def _newest() -> ColumnElement[bool]:
    return TRACE.c.id > _before()


def _before() -> ColumnElement[int]:
    every = TRACE.alias()
    newest: ColumnElement[int] = select(func.max(every.c.id)).scalar_subquery()
    return newest - LOOKED_AT
