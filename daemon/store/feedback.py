"""Feedback that came as events of its own, and the answers it is about."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Table, inspect, select, tuple_, update

from daemon.store.inserts import insert_new
from daemon.store.tables import FeedbackRow, PositionRow, SpanRow, TraceRow
from policies.feedback import About, FeedbackEvent, in_force

FEEDBACK = cast(Table, inspect(FeedbackRow).local_table)
TRACE = cast(Table, inspect(TraceRow).local_table)
SPAN = cast(Table, inspect(SpanRow).local_table)
POSITION = cast(Table, inspect(PositionRow).local_table)
_C = FEEDBACK.c
CHUNK = 500
"""Keys of one statement."""

Target = tuple[str, str]
"""What feedback is about, and the name of it."""


def put(connection: Connection, source: str, events: Sequence[FeedbackEvent], now: float) -> int:
    """Stores feedback that a source gave; returns how much of it is new. One that is there already is of the
    later of both times.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for event in events:
        row = _row(event, source, now)
        before = rows.get((event.id, row["digest"]))
        rows[event.id, row["digest"]] = row if before is None or row["ts"] > before["ts"] else before
    known = _known(connection, source, list(rows))
    for key, (row_id, ts) in known.items():
        if rows[key]["ts"] > ts:
            # What it says counts again as the last: whoever makes something of it looks once more.
            again = {name: rows[key][name] for name in ("ts", "due_at")}
            connection.execute(update(FEEDBACK).where(_C.id == row_id).values(again))
    fresh = [row for key, row in rows.items() if key not in known]
    return len(insert_new(connection, FEEDBACK, fresh))


def about(connection: Connection, trace_ids: Collection[int]) -> dict[int, list[FeedbackEvent]]:
    """What is said of each of these traces and stands, oldest first, whether it came before or after them; a
    trace of which nothing is said is left out.

    Where several sources have an event of one id, it is about that of its own source, or else about all.
    """
    targets = _targets(connection, trace_ids)
    said = _said(connection, {target for _, each in targets.values() for target in each})
    sources = _sources(connection, [target for about_, target in said if about_ == About.EVENT.value])
    found: dict[int, list[FeedbackEvent]] = {}
    for trace_id, (source, names) in targets.items():
        mine = [
            event
            for name in names
            for event in said.get(name, ())
            if event.about is not About.EVENT or event.source == source
            or event.source not in sources.get(event.target, ())
        ]  # fmt: skip
        if mine:
            found[trace_id] = in_force(mine)
    return found


def _row(event: FeedbackEvent, source: str, now: float) -> dict[str, Any]:
    return {
        "source": source,
        "event_id": event.id,
        "digest": event.digest,
        "about": event.about.value,
        "target": event.target,
        "ts": event.ts,
        "payload": event.model_dump(mode="json") | {"source": source},
        "stored_at": now,
        "kind": event.form.value,
        "due_at": None if event.about is About.SESSION else 0.0,
    }


def _known(
    connection: Connection, source: str, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[int, float]]:
    found: dict[tuple[str, str], tuple[int, float]] = {}
    for start in range(0, len(keys), CHUNK):
        query = select(_C.id, _C.event_id, _C.digest, _C.ts).where(
            _C.source == source, tuple_(_C.event_id, _C.digest).in_(keys[start : start + CHUNK])
        )
        found |= {(row.event_id, row.digest): (row.id, row.ts) for row in connection.execute(query)}
    return found


def _targets(connection: Connection, trace_ids: Collection[int]) -> dict[int, tuple[str, set[Target]]]:
    """By trace: its source, and all that names it."""
    columns = (TRACE.c.id, TRACE.c.source, TRACE.c.event_id, TRACE.c.session)
    traces = [
        row
        for chunk in _chunks(list(trace_ids))
        for row in connection.execute(select(*columns).where(TRACE.c.id.in_(chunk)))
    ]
    spans: dict[tuple[str, str], set[Target]] = {}
    for chunk in _chunks([row.event_id for row in traces]):
        query = select(SPAN.c.source, SPAN.c.event_id, SPAN.c.trace_id, SPAN.c.span_id)
        for row in connection.execute(query.where(SPAN.c.event_id.in_(chunk))):
            names = spans.setdefault((row.source, row.event_id), set())
            names |= {(About.SPAN, f"{row.trace_id}:{row.span_id}"), (About.TRACE, row.trace_id)}
    found = {}
    for row in traces:
        names = {(About.EVENT, row.event_id), (About.SPAN, row.event_id)}
        names |= {(About.SESSION, row.session)} if row.session else set()
        found[row.id] = (row.source, names | spans.get((row.source, row.event_id), set()))
    return found


def _said(connection: Connection, targets: Iterable[Target]) -> dict[Target, list[FeedbackEvent]]:
    found: dict[Target, list[FeedbackEvent]] = {}
    by_kind: dict[str, list[str]] = {}
    for kind, name in targets:
        by_kind.setdefault(kind, []).append(name)
    for kind, names in by_kind.items():
        for chunk in _chunks(names):
            query = select(_C.ts, _C.payload).where(_C.about == kind, _C.target.in_(chunk)).order_by(_C.id)
            for row in connection.execute(query):
                event = FeedbackEvent.model_validate(row.payload | {"ts": row.ts})
                found.setdefault((event.about, event.target), []).append(event)
    return found


def _sources(connection: Connection, event_ids: Sequence[str]) -> dict[str, set[str]]:
    """By event id: the sources that have such an event."""
    found: dict[str, set[str]] = {}
    for chunk in _chunks(event_ids):
        query = select(TRACE.c.event_id, TRACE.c.source).where(
            TRACE.c.source.in_(select(POSITION.c.source).distinct()), TRACE.c.event_id.in_(chunk)
        )
        for row in connection.execute(query):
            found.setdefault(row.event_id, set()).add(row.source)
    return found


def _chunks(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
