"""Inserts, alike on both databases: of what is not there yet, and of many new rows at once."""

from collections.abc import Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table, func, insert, select, text
from sqlalchemy.sql.schema import ScalarElementColumnDefault

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

ROWS = 500
"""Rows a statement: well below the number of parameters that either database takes."""
_NEXT_IDS = text("SELECT nextval(pg_get_serial_sequence(:name, 'id')) FROM generate_series(1, :count)")


def insert_of(connection: Connection, table: Table) -> "postgresql.Insert | sqlite.Insert":
    """Returns an insert into the table that can say what is done with a row that is there already.

    A database's dialect is loaded where that database is used.
    """
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Inserts rows of the same columns and skips those that any unique key already has.

    Returns the primary keys' first column of what was inserted.
    """
    key = next(iter(table.primary_key.columns))
    inserted: list[Any] = []
    for start in range(0, len(rows), ROWS):
        statement = insert_of(connection, table).values([dict(row) for row in rows[start : start + ROWS]])
        inserted.extend(connection.scalars(statement.on_conflict_do_nothing().returning(key)))
    return inserted


def insert_written(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts rows of the same columns, whose values are as the driver takes them: JSON is its text.

    One statement's preparation for all of them, and nothing done to any value: several times faster than
    SQLAlchemy's own way, which asks each column's type about each value. A column that no row names has its
    declared default.
    """
    if not rows:
        return
    compiled: Any = insert(table).compile(dialect=connection.dialect, column_keys=list(rows[0]))
    whole = [{**_defaults(table), **row} for row in rows]
    if compiled.positiontup is None:
        connection.exec_driver_sql(str(compiled), whole)
        return
    values = itemgetter(*compiled.positiontup)
    connection.exec_driver_sql(str(compiled), [values(row) for row in whole])


@cache
def _defaults(table: Table) -> dict[str, Any]:
    """The values that SQLAlchemy itself would put into columns that are not named."""
    found: dict[str, Any] = {}
    for each in table.columns:
        if isinstance(each.default, ScalarElementColumnDefault):
            found[each.name] = each.default.arg
    return found


def reserved(connection: Connection, table: Table, count: int) -> list[int]:
    """So many new ids of a table, rising: rows that belong together are inserted without a look between.

    SQLite gives the ids that it would give itself; the transaction must be the one that writes.
    """
    if count == 0:
        return []
    if connection.dialect.name == "postgresql":
        found = connection.scalars(_NEXT_IDS, {"name": table.name, "count": count})
        return sorted(found)
    last = connection.scalar(select(func.max(table.c.id))) or 0
    return list(range(last + 1, last + 1 + count))
