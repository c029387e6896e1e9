"""Refuse changes to ledger entries in the database itself."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REFUSE = "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
SAME = "WHEN EXISTS (SELECT 1 FROM ledger WHERE seq = NEW.seq OR hash = NEW.hash)"
SQLITE = (
    f"CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger {REFUSE}",
    f"CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger {REFUSE}",
    # INSERT OR REPLACE deletes without running the trigger above.
    f"CREATE TRIGGER ledger_no_replace BEFORE INSERT ON ledger {SAME} {REFUSE}",
)
POSTGRESQL = (
    """CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$""",
    """CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()""",
)


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in SQLITE if sqlite else POSTGRESQL:
        op.execute(statement)
