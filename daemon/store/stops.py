"""Sources that are not read on, because no decoder knows their records, until a person has decided."""

from dataclasses import dataclass
from typing import cast

from sqlalchemy import Connection, Table, delete, insert, inspect, select, update

from daemon.store import ledger
from daemon.store.tables import SourceStopRow

STOP = cast(Table, inspect(SourceStopRow).local_table)


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop that nothing has passed yet.

    `line` says what was met; `accepted`: its run becomes dead letters.
    """

    source: str
    line: str
    stopped_at: float
    accepted: bool


def stop(connection: Connection, source: str, line: str, *, now: float) -> None:
    """Keeps that the source stopped. A stop before it is over, whatever was decided about it."""
    connection.execute(delete(STOP).where(STOP.c.source == source))
    connection.execute(insert(STOP).values(source=source, line=line, stopped_at=now))


def accept(connection: Connection, source: str, *, actor: str, now: float) -> bool:
    """Lets the source go on over the run that it stopped at, with a ledger entry.

    Answers whether it is stopped, or was and the run is not passed yet.
    """
    found = of(connection, source)
    if found is None or found.accepted:
        return found is not None
    connection.execute(update(STOP).where(STOP.c.source == source).values(accepted_at=now, accepted_by=actor))
    ledger.append(
        connection,
        at=now,
        actor=actor,
        action="accept",
        subject=f"ingest:{source}",
        reason=found.line,
        detail={"stopped_at": found.stopped_at},
    )
    return True


def passed(connection: Connection, source: str, *, now: float) -> None:
    """Keeps that the source is read again: a record came that a decoder knows."""
    connection.execute(
        update(STOP).where(STOP.c.source == source, STOP.c.passed_at.is_(None)).values(passed_at=now)
    )


def of(connection: Connection, source: str) -> Stop | None:
    """The stop at which the source stands, or whose run it has not passed; None: it is read as always."""
    return next((each for each in standing(connection) if each.source == source), None)


def standing(connection: Connection) -> list[Stop]:
    """Every stop that nothing has passed yet."""
    query = select(STOP).where(STOP.c.passed_at.is_(None)).order_by(STOP.c.source)
    return [
        Stop(row.source, row.line, row.stopped_at, row.accepted_at is not None)
        for row in connection.execute(query)
    ]
