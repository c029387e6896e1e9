"""Keep what a halt, a resume and a change of the rollout rested on: epochs, evidence, the file's wish."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
EPOCH = """UPDATE halt SET epoch = coalesce(
    (SELECT max(rollout.epoch) FROM rollout WHERE rollout.created_at <= halt.created_at), 0)"""


def upgrade() -> None:
    op.add_column("halt", sa.Column("epoch", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("halt", sa.Column("resumed_on", JSON, nullable=True))
    op.add_column("rollout", sa.Column("wish", sa.String(), nullable=False, server_default=""))
    op.execute(EPOCH)
