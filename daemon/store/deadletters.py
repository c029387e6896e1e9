"""Dead letters: what came in and is no trace, with its bytes and the reason."""

from typing import Any, cast

from sqlalchemy import Connection, Table, func, inspect, select

from daemon.store.tables import DeadLetterRow

DEAD_LETTER = cast(Table, inspect(DeadLetterRow).local_table)
_C = DEAD_LETTER.c
SHOWN = ("id", "stored_at", "source", "topic", "partition", "offset", "index", "reason")


def newest(
    connection: Connection, *, limit: int, source: str | None = None, letter: int | None = None
) -> list[dict[str, Any]]:
    """The newest ones, of all sources or of one, or the one with an id; `bytes` is how long each is."""
    query = select(*(_C[name] for name in SHOWN), func.length(_C.body).label("bytes"))
    if source is not None:
        query = query.where(_C.source == source)
    if letter is not None:
        query = query.where(_C.id == letter)
    return [dict(row) for row in connection.execute(query.order_by(_C.id.desc()).limit(limit)).mappings()]


def body(connection: Connection, letter: int) -> bytes | None:
    """What came in; None where there is no such dead letter."""
    found = connection.scalar(select(_C.body).where(_C.id == letter))
    return None if found is None else bytes(found)
