"""Snapshots of prompts, and pairs that people labelled: which events and which labels are in one."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    for name in ("trace_ids", "label_ids"):
        op.add_column("snapshot", sa.Column(name, JSON, nullable=True))
