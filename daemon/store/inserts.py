"""Insert what is not there yet, alike on both databases."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

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
