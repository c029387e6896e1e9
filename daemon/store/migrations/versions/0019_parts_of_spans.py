"""Keep several parts of one span, and which traces have not all that led to them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
KEY = ["source", "trace_id", "span_id"]
KEPT = (
    "id", "source", "trace_id", "span_id", "event_id", "digest", "ends_trace", "payload", "stored_at",
    "joined_at", "refused",
)  # fmt: skip
INDEXES = (("ix_span_open", ["source", "joined_at", "trace_id"]), ("ix_span_event", ["event_id"]))


def upgrade() -> None:
    op.add_column("trace", sa.Column("incomplete", sa.Boolean(), nullable=False, server_default=sa.false()))
    if op.get_bind().dialect.name == "sqlite":
        _anew()
    else:
        op.add_column("span", _part())
        op.drop_constraint("span_source_trace_id_span_id_key", "span")
        op.create_unique_constraint(None, "span", [*KEY, "part"])


def _part() -> sa.Column[str]:
    return sa.Column("part", sa.String(), nullable=False, server_default="span")


def _anew() -> None:
    """SQLite changes no constraint of a table that is there."""
    for name, _ in INDEXES:
        op.drop_index(name, "span")
    op.rename_table("span", "span_before")
    op.create_table(
        "span",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("trace_id", sa.String(), nullable=False),
        sa.Column("span_id", sa.String(), nullable=False),
        _part(),
        sa.Column("event_id", sa.String(), nullable=True),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("ends_trace", sa.Boolean(), nullable=False),
        sa.Column("payload", JSON, nullable=True),
        sa.Column("stored_at", sa.Float(), nullable=False),
        sa.Column("joined_at", sa.Float(), nullable=True),
        sa.Column("refused", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(*KEY, "part"),
    )
    columns = ", ".join(KEPT)
    op.execute(f"INSERT INTO span ({columns}) SELECT {columns} FROM span_before")
    op.drop_table("span_before")
    for name, columns_of in INDEXES:
        op.create_index(name, "span", columns_of)
