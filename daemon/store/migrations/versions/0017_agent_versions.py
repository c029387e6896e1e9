"""Keep which version of the agent answered, what a version is told by, and the whole assignment in force."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "agent_version",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("tools", sa.String(), nullable=False),
        sa.Column("template", JSON, nullable=True),
        sa.Column("traces", sa.Integer(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.Float(), nullable=False),
        sa.Column("last_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("source", "name"),
    )
    op.create_table(
        "agent_source",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("fallen_until", sa.BigInteger(), nullable=False),
        sa.Column("fallen_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("source"),
    )
    for table in ("trace", "preference", "evaluation"):
        op.add_column(table, sa.Column("agent_version", sa.String(), nullable=True))
    op.add_column("snapshot", sa.Column("agent_versions", JSON, nullable=True))
    op.add_column("rollout", sa.Column("canary", sa.String(), nullable=True))
    op.add_column("rollout", sa.Column("share", sa.Float(), nullable=False, server_default=sa.text("0")))
