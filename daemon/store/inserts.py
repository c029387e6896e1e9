"""Insert what is not there yet, alike on both databases."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

ROWS = 500
"""Rows a statement: well below the number of parameters that either database takes."""


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
