"""Keep who is to judge by name, with the role beside it: judges of before are named as their roles."""

import re

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_judgement_queue", "judgement", ["state", "judge", "not_before", "id"]),
    ("ix_verdict_newest", "verdict", ["judge", "kind", "created_at"]),
)


def upgrade() -> None:
    connection = op.get_bind()
    op.add_column("judgement", sa.Column("judge", sa.String(), nullable=False, server_default=sa.text("''")))
    rename = _rename_sqlite if connection.dialect.name == "sqlite" else _rename_postgresql
    rename(connection)
    for name, table, columns in INDEXES:
        op.drop_index(name, table)
        op.create_index(name, table, columns, unique=False)


def _rename_sqlite(connection: sa.Connection) -> None:
    """The triggers that keep the tally come again as they were, with `judge` for `role`."""
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'tally\\_%' ESCAPE '\\'"
    triggers = connection.execute(sa.text(query)).all()
    for name, _ in triggers:
        op.execute(f"DROP TRIGGER {name}")
    _fill()
    for _, created in triggers:
        op.execute(_said(created))


def _rename_postgresql(connection: sa.Connection) -> None:
    """The same; the triggers stay, and their functions come anew."""
    query = "SELECT proname, prosrc FROM pg_proc WHERE proname LIKE 'tally\\_%' AND pronamespace = "
    functions = connection.execute(sa.text(f"{query} current_schema()::regnamespace")).all()
    op.execute("ALTER TABLE judgement DISABLE TRIGGER tally_judgement_update")  # else it gathers every row
    _fill()
    op.execute("ALTER TABLE judgement ENABLE TRIGGER tally_judgement_update")
    for name, body in functions:
        op.execute(
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${_said(body)}$$"
        )


def _fill() -> None:
    op.execute("UPDATE judgement SET judge = role")
    op.execute("ALTER TABLE tally RENAME COLUMN role TO judge")


def _said(body: str) -> str:
    return re.sub(r"\brole\b", "judge", body)
