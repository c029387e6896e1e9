"""Spans as they came, until the traces they are parts of are complete."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Table, delete, func, insert, inspect, or_, select, tuple_, update

from daemon.store.tables import SpanRow
from policies.spans import JoinRule, OpenTrace, Span

SPAN = cast(Table, inspect(SpanRow).local_table)
_C = SPAN.c
CHUNK = 400
"""Keys of one statement."""
MOST_TRACES = 1000
"""Open traces that are looked at in one go: those that are quiet longest."""


@dataclass(frozen=True, slots=True)
class Parts:
    """All that is kept of one trace, with the rows that are joined by joining it."""

    trace_id: str
    row_ids: tuple[int, ...]
    spans: tuple[Span, ...]


def put(connection: Connection, source: str, spans: Sequence[Span], now: float) -> int:
    """Stores spans that a source gave; returns how many are new or changed. One that changed is open again.

    Of one part of a span twice the later is kept.
    """
    rows = {(span.trace_id, span.span_id, span.part): _row(span, source, now) for span in spans}
    known = _known(connection, source, list(rows))
    changed = [row for key, row in rows.items() if key in known and known[key] != row["digest"]]
    for row in changed:
        key = (_C[name] == row[name] for name in ("source", "trace_id", "span_id", "part"))
        connection.execute(update(SPAN).where(*key).values(row))
    fresh = [row for key, row in rows.items() if key not in known]
    if fresh:
        connection.execute(insert(SPAN), fresh)
    return len(fresh) + len(changed)


def any_open(connection: Connection, source: str) -> bool:
    """Whether a part of the source waits to be joined."""
    waiting = select(_C.id).where(_C.source == source, _C.joined_at.is_(None)).limit(1)
    return connection.scalar(waiting) is not None


def complete(connection: Connection, source: str, rule: JoinRule, now: float, *, limit: int) -> list[Parts]:
    """At most so many traces of the source that have open parts and are complete, the longest quiet first:
    a trace that goes on for long keeps no other waiting.

    On PostgreSQL the open parts are locked until the commit; those that another daemon joins are passed over.
    """
    times = func.min(_C.stored_at), func.max(_C.stored_at)
    opened = select(_C.trace_id, *times).where(_C.source == source, _C.joined_at.is_(None))
    opened = opened.group_by(_C.trace_id).order_by(times[1], _C.trace_id).limit(MOST_TRACES)
    found = connection.execute(opened).all()
    ended: set[str] = set()
    names = [row.trace_id for row in found]
    for start in range(0, len(names), CHUNK):
        within = _C.trace_id.in_(names[start : start + CHUNK])
        query = select(_C.trace_id).where(_C.source == source, within, _C.ends_trace)
        ended |= set(connection.scalars(query))
    due = [
        trace_id
        for trace_id, first_at, last_at in found
        if rule.complete(OpenTrace(first_at, last_at, trace_id in ended), now) is not None
    ]
    return _parts(connection, source, due[:limit])


def name(connection: Connection, source: str, trace_id: str, events: Mapping[str, str]) -> None:
    """Notes the events that a trace's spans are, by span: what was said of a span is said of its answer."""
    for span_id, event_id in events.items():
        mine = (_C.source == source, _C.trace_id == trace_id, _C.span_id == span_id)
        other = or_(_C.event_id.is_(None), _C.event_id != event_id)
        connection.execute(update(SPAN).where(*mine, other).values(event_id=event_id))


def close(connection: Connection, parts: Sequence[Parts], now: float, *, refused: str | None = None) -> None:
    """The parts are joined, or what they make was refused."""
    row_ids = [row_id for each in parts for row_id in each.row_ids]
    for start in range(0, len(row_ids), CHUNK):
        mine = _C.id.in_(row_ids[start : start + CHUNK])
        connection.execute(update(SPAN).where(mine).values(joined_at=now, refused=refused))


def forget(connection: Connection, source: str, before: float) -> None:
    """Lets go of what was joined before: a part that comes later is joined without it. What names an answer
    stays.
    """
    old = (_C.source == source, _C.joined_at < before)
    connection.execute(delete(SPAN).where(*old, _C.event_id.is_(None)))
    connection.execute(update(SPAN).where(*old, _C.payload.is_not(None)).values(payload=None))


def _row(span: Span, source: str, now: float) -> dict[str, Any]:
    return {
        "source": source,
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "part": span.part,
        "event_id": span.id if span.is_call else None,
        "digest": span.digest,
        "ends_trace": span.ends_trace,
        "payload": span.model_dump(mode="json") | {"source": source},
        "stored_at": now,
        "joined_at": None,
        "refused": None,
    }


def _known(
    connection: Connection, source: str, keys: Sequence[tuple[str, str, str]]
) -> dict[tuple[str, str, str], str]:
    found: dict[tuple[str, str, str], str] = {}
    for start in range(0, len(keys), CHUNK):
        within = tuple_(_C.trace_id, _C.span_id, _C.part).in_(keys[start : start + CHUNK])
        query = select(_C.trace_id, _C.span_id, _C.part, _C.digest).where(_C.source == source, within)
        found |= {(row.trace_id, row.span_id, row.part): row.digest for row in connection.execute(query)}
    return found


def _parts(connection: Connection, source: str, trace_ids: Sequence[str]) -> list[Parts]:
    mine: dict[str, list[int]] = {}
    spans: dict[str, list[Span]] = {}
    for start in range(0, len(trace_ids), CHUNK):
        of = (_C.source == source, _C.trace_id.in_(trace_ids[start : start + CHUNK]))
        still_open = select(_C.id, _C.trace_id).where(*of, _C.joined_at.is_(None)).order_by(_C.id)
        for row in connection.execute(still_open.with_for_update(skip_locked=True)):
            mine.setdefault(row.trace_id, []).append(row.id)
        kept = select(_C.trace_id, _C.payload).where(*of, _C.payload.is_not(None)).order_by(_C.id)
        for row in connection.execute(kept):
            spans.setdefault(row.trace_id, []).append(Span.model_validate(row.payload))
    return [Parts(each, tuple(mine[each]), tuple(spans.get(each, ()))) for each in trace_ids if each in mine]
