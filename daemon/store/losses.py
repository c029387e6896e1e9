"""Offsets that a source lost before they were read: they hold it until a person has accepted the gap."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, delete, insert, inspect, select, update

from connectors.base import Partition
from connectors.losses import Loss
from daemon.store import ledger
from daemon.store.tables import SourceLossRow
from daemon.store.traces import POSITION, positions

LOSS = cast(Table, inspect(SourceLossRow).local_table)


def meet(
    connection: Connection, source: str, losses: Sequence[Loss], line: str, *, now: float
) -> tuple[list[Loss], list[Loss]]:
    """Sets positions beyond the losses that a person has accepted, and keeps the others.

    Returns those passed, each from where its position stood, and those that wait for a person; what a
    position is beyond already is neither. An accepted gap is accepted as wide as it has become meanwhile.
    """
    stand = positions(connection, source, [loss.partition for loss in losses])
    known = {Partition(row.topic, row.partition): row for row in _rows(connection, LOSS.c.source == source)}
    passed: list[Loss] = []
    waiting: list[Loss] = []
    for loss in losses:
        at = stand.get(loss.partition)
        if at is None or at >= loss.begins:
            continue
        gap, row = Loss(loss.partition, at, loss.begins), known.get(loss.partition)
        if row is not None and row.accepted_at is not None:
            _move(connection, source, gap, now)
            passed.append(gap)
        else:
            waiting.append(gap)
            if row is None or (row.stood, row.begins) != (gap.stood, gap.begins):
                _keep(connection, source, gap, line, now)
    return passed, waiting


def accept(connection: Connection, source: str, *, actor: str, now: float) -> bool:
    """Lets the source go on behind what it lost, with a ledger entry. Returns whether it lost anything."""
    rows = _rows(connection, LOSS.c.source == source)
    new = [row for row in rows if row.accepted_at is None]
    if new:
        connection.execute(
            update(LOSS)
            .where(LOSS.c.source == source, LOSS.c.passed_at.is_(None))
            .values(accepted_at=now, accepted_by=actor)
        )
        ledger.append(
            connection,
            at=now,
            actor=actor,
            action="accept",
            subject=f"losses:{source}",
            reason=new[0].line,
            detail={"losses": [[row.topic, row.partition, row.stood, row.begins] for row in new]},
        )
    return bool(rows)


def passed_over(connection: Connection, source: str, partitions: Iterable[Partition], *, now: float) -> None:
    """Keeps that reading went on behind what those partitions lost, without anybody's word."""
    for partition in partitions:
        connection.execute(
            update(LOSS).where(_at(source, partition), LOSS.c.passed_at.is_(None)).values(passed_at=now)
        )


def standing(connection: Connection) -> dict[str, str]:
    """By source, the line of a loss that nobody has accepted."""
    return {row.source: row.line for row in _rows(connection, LOSS.c.accepted_at.is_(None))}


def _rows(connection: Connection, which: ColumnElement[bool]) -> list[Row[Any]]:
    query = select(LOSS).where(which, LOSS.c.passed_at.is_(None))
    return list(connection.execute(query.order_by(LOSS.c.source, LOSS.c.topic, LOSS.c.partition)))


def _keep(connection: Connection, source: str, gap: Loss, line: str, now: float) -> None:
    connection.execute(delete(LOSS).where(_at(source, gap.partition)))
    connection.execute(
        insert(LOSS).values(
            source=source,
            topic=gap.partition.topic,
            partition=gap.partition.partition,
            stood=gap.stood,
            begins=gap.begins,
            line=line,
            found_at=now,
        )
    )


def _move(connection: Connection, source: str, gap: Loss, now: float) -> None:
    where = (
        POSITION.c.source == source,
        POSITION.c.topic == gap.partition.topic,
        POSITION.c.partition == gap.partition.partition,
        POSITION.c.next_offset < gap.begins,
    )
    connection.execute(update(POSITION).where(*where).values(next_offset=gap.begins, updated_at=now))
    connection.execute(
        update(LOSS)
        .where(_at(source, gap.partition))
        .values(stood=gap.stood, begins=gap.begins, passed_at=now)
    )


def _at(source: str, partition: Partition) -> ColumnElement[bool]:
    return and_(
        LOSS.c.source == source,
        LOSS.c.topic == partition.topic,
        LOSS.c.partition == partition.partition,
    )
