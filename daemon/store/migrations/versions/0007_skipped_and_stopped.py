"""Count what is skipped, keep where a source stopped, and mark answers that hold what is no text."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("position", sa.Column("skipped", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("candidate", sa.Column("unshown", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "source_stop",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("stopped_at", sa.Float(), nullable=False),
        sa.Column("accepted_at", sa.Float(), nullable=True),
        sa.Column("accepted_by", sa.String(), nullable=True),
        sa.Column("passed_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("source"),
    )
