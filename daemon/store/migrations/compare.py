"""How the tables are compared with a database, and how their types are written into a revision."""

from typing import Any, Literal

from sqlalchemy.types import JSON
from sqlmodel import SQLModel
from sqlmodel.sql.sqltypes import AutoString

from daemon.store import tables
from daemon.store.tables import jsoncolumn


def options() -> dict[str, Any]:
    """Arguments of Alembic's `configure`: our metadata and our spelling of types."""
    metadata = tables.LedgerRow.metadata
    return {
        "target_metadata": metadata,
        "render_item": _render,
        "compare_type": True,
        "include_name": _ours,
    }


def _ours(name: str | None, kind: str, parents: dict[str, str | None]) -> bool:
    """Leaves other people's tables in a shared database alone."""
    del parents
    return kind != "table" or name in SQLModel.metadata.tables


def _render(kind: str, item: Any, context: Any) -> str | Literal[False]:
    del context
    if kind == "type" and isinstance(item, AutoString):
        return "sa.String()"
    if kind == "type" and isinstance(item, JSON | jsoncolumn.JsonColumn):
        return "JSON"
    return False
