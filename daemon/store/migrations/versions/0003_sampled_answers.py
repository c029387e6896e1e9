"""Keep what the sampler knows of an answer: whether it was cut off, and its tokens."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column(
        "candidate", sa.Column("truncated", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("candidate", sa.Column("tokens", JSON, nullable=True))
