"""Remember which prompts the policy's process died on, and why a prompt has no sampled answers."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trace", sa.Column("trial", sa.Integer(), nullable=True))
    op.add_column("trace", sa.Column("refused", sa.Text(), nullable=True))
