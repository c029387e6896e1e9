"""Inserts, alike on both databases: of what is not there yet, and of many new rows at once."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table, cast, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import REGCLASS

ROWS = 500
"""Rows a statement: well below the number of parameters that either database takes."""


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Inserts rows of the same columns and skips those that any unique key already has.

    Answers the primary keys' first column of what was inserted.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    key = next(iter(table.primary_key.columns))
    inserted: list[Any] = []
    for start in range(0, len(rows), ROWS):
        statement = dialect.insert(table).values([dict(row) for row in rows[start : start + ROWS]])
        inserted.extend(connection.scalars(statement.on_conflict_do_nothing().returning(key)))
    return inserted


def insert_written(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts rows of the same columns, whose values are as the driver takes them: JSON is its text.

    One statement's preparation for all of them, and nothing done to any value: several times faster than
    SQLAlchemy's own way, which asks each column's type about each value.
    """
    if not rows:
        return
    compiled = insert(table).compile(dialect=connection.dialect, column_keys=list(rows[0]))
    if compiled.positiontup is None:  # type: ignore[attr-defined] - of the compiler of SQL
        connection.exec_driver_sql(str(compiled), [dict(row) for row in rows])
        return
    values = itemgetter(*compiled.positiontup)  # type: ignore[attr-defined]
    connection.exec_driver_sql(str(compiled), [values(row) for row in rows])


def reserved(connection: Connection, table: Table, count: int) -> list[int]:
    """So many new ids of a table, rising: rows that belong together are inserted without a look between.

    SQLite gives the ids that it would give itself; the transaction must be the one that writes.
    """
    if count == 0:
        return []
    if connection.dialect.name == "postgresql":
        sequence = func.pg_get_serial_sequence(table.name, "id")
        query = select(func.nextval(cast(sequence, REGCLASS))).select_from(func.generate_series(1, count))
        return sorted(connection.scalars(query))
    last = connection.scalar(select(func.max(table.c.id))) or 0
    return list(range(last + 1, last + 1 + count))
