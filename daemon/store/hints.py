"""What is said to a database's planner."""

from typing import Any

from sqlalchemy import ColumnElement


def unindexed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The text column as an expression that no index serves.

    SQLite takes every value of an indexed column for as frequent as another. Beside a short list of ids it
    would begin with a role or a split, and read nearly the whole table.
    """
    return column.concat("")
