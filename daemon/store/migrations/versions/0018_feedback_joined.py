"""Keep of feedback what kind it is and which answer it is about, of corrections whether they stand, and of
traces with which probability they were kept.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
KINDS = ("thumb", "rating", "edit", "correction", "retry", "rephrase", "copy", "abandon")


def upgrade() -> None:
    op.add_column("feedback", sa.Column("kind", sa.String(), nullable=False, server_default="other"))
    op.add_column("feedback", sa.Column("answer_id", sa.Integer(), nullable=True))
    op.add_column("feedback", sa.Column("due_at", sa.Float(), nullable=True))
    op.add_column("feedback", sa.Column("joined_at", sa.Float(), nullable=True))
    op.create_index("ix_feedback_due", "feedback", ["due_at"])
    op.create_index("ix_feedback_joined", "feedback", ["joined_at"])
    op.create_index("ix_feedback_answer", "feedback", ["answer_id"])
    op.add_column(
        "candidate", sa.Column("withdrawn", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("trace", sa.Column("kept_with", sa.Float(), nullable=False, server_default=sa.text("1")))
    said = sa.table("feedback", sa.column("kind"), sa.column("due_at"), sa.column("payload", JSON))
    for kind in KINDS:
        named = said.c.payload["said"]["name"].as_string() == kind
        op.execute(said.update().where(named).values(kind=kind))
    op.execute(said.update().values(due_at=0.0))
