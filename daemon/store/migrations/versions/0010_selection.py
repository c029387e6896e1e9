"""Keep what a preference reads like, and what a snapshot leaves out."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("preference", sa.Column("sketch", sa.String(), nullable=True))
    op.add_column("snapshot", sa.Column("left_out", JSON, nullable=True))
    op.create_index(op.f("ix_snapshot_created_at"), "snapshot", ["created_at"], unique=False)
