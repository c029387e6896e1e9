"""Keep counts of the tables that grow, so that nobody has to count their rows, and one name a reviewer."""

import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None

SLOTS = 16
KEY = ("subject", "role", "state", "slot")
SUMS = ("total", "abstained", "rewarded", "reward_sum")
COLUMNS = ", ".join((*KEY, *SUMS, "first_at"))
PLAIN = ("trace", "dead_letter", "label", "preference")
ROLE_AND_STATE = {"judgement": ("role", "state"), "verdict": ("role", "version")}
CHANGED = {
    "judgement": "OLD.state <> NEW.state OR OLD.role <> NEW.role",
    "verdict": "OLD.role <> NEW.role OR OLD.version <> NEW.version OR OLD.reward IS NOT NEW.reward "
    "OR OLD.abstention IS NOT NEW.abstention",
}
"""Tables whose rows change what they count as, and when they do, as SQLite says it."""
EVENTS = ("INSERT", "DELETE", "UPDATE")


def upgrade() -> None:
    op.create_table(
        "tally",
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("abstained", sa.BigInteger(), nullable=False),
        sa.Column("rewarded", sa.BigInteger(), nullable=False),
        sa.Column("reward_sum", sa.Float(), nullable=False),
        sa.Column("first_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint(*KEY),
    )
    triggers = _sqlite if op.get_bind().dialect.name == "sqlite" else _postgresql
    for table in (*PLAIN, *ROLE_AND_STATE):
        for event in EVENTS:
            if event != "UPDATE" or table in CHANGED:
                for statement in triggers(table, event):
                    op.execute(statement)
        # The triggers hold the table's lock by now: nothing is added between this count and theirs.
        op.execute(f"INSERT INTO tally ({COLUMNS}) {_of(table, table, 1, slot='0')}")
    _merge_names(op.get_bind())


def _merge_names(connection: sa.Connection) -> None:
    """Labels of names that only look different become one person's, of two on one pair the newer."""
    for name in list(connection.scalars(sa.text("SELECT DISTINCT reviewer FROM label"))):
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
        names = {"old": name, "new": " ".join(folded.split()) or name}
        if names["new"] == name:
            continue
        for which, other, newer in (
            ("old", "new", "other.created_at >= label.created_at"),
            ("new", "old", "1 = 1"),
        ):
            connection.execute(
                sa.text(
                    f"DELETE FROM label WHERE reviewer = :{which} AND EXISTS (SELECT 1 FROM label AS other "
                    f"WHERE other.reviewer = :{other} AND other.candidate_id = label.candidate_id "
                    f"AND other.other_id = label.other_id AND {newer})"
                ),
                names,
            )
        connection.execute(sa.text("UPDATE label SET reviewer = :new WHERE reviewer = :old"), names)


def _of(table: str, rows: str, sign: int, *, slot: str) -> str:
    """What the rows of a table add to the tally, or take from it where `sign` is -1."""
    if table in PLAIN:
        return (
            f"SELECT '{table}', '', '', {slot}, {sign} * count(*), 0, 0, 0.0, CAST(NULL AS FLOAT) FROM {rows}"
        )
    role, state = ROLE_AND_STATE[table]
    sums = f"{sign} * count(*), 0, 0, 0.0, CAST(NULL AS FLOAT)"
    if table == "verdict":
        sums = (
            f"{sign} * count(*), {sign} * count(abstention), {sign} * count(reward), "
            f"{sign} * coalesce(sum(reward), 0.0), min(created_at)"
        )
    return (
        f"SELECT '{table}', {role}, {state}, {slot}, {sums} FROM {rows} "
        f"GROUP BY {role}, {state} ORDER BY {role}, {state}"
    )


def _sqlite(table: str, event: str) -> tuple[str]:
    """One trigger, for each row. `excluded` is what would have been inserted."""
    added = {"INSERT": (("NEW", 1),), "DELETE": (("OLD", -1),), "UPDATE": (("OLD", -1), ("NEW", 1))}
    body = " ".join(f"{_added(_values(table, row, sign), 'min')};" for row, sign in added[event])
    when = f" WHEN {CHANGED[table]}" if event == "UPDATE" else ""
    name = f"tally_{table}_{event.lower()}"
    return (f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW{when} BEGIN {body} END",)


def _values(table: str, row: str, sign: int) -> str:
    if table in PLAIN:
        return f"VALUES ('{table}', '', '', 0, {sign}, 0, 0, 0.0, NULL)"
    role, state = (f"{row}.{column}" for column in ROLE_AND_STATE[table])
    sums = f"{sign}, 0, 0, 0.0, NULL"
    if table == "verdict":
        sums = (
            f"{sign}, {sign} * ({row}.abstention IS NOT NULL), {sign} * ({row}.reward IS NOT NULL), "
            f"{sign} * coalesce({row}.reward, 0.0), {row}.created_at"
        )
    return f"VALUES ('{table}', {role}, {state}, 0, {sums})"


def _postgresql(table: str, event: str) -> tuple[str, ...]:
    """One function and one trigger, for each statement: a batch of rows is one change of the tally."""
    name = f"tally_{table}_{event.lower()}"
    slot = f"pg_backend_pid() % {SLOTS}"
    parts = {"INSERT": (("new_rows", 1),), "DELETE": (("old_rows", -1),),
             "UPDATE": (("old_rows", -1), ("new_rows", 1))}[event]  # fmt: skip
    seen = " ".join(f"{row[:3].upper()} TABLE AS {row}" for row, _ in parts)
    both = " UNION ALL ".join(f"({_of(table, row, sign, slot=slot)})" for row, sign in parts)
    columns = f"{', '.join(KEY)}, {', '.join(f'sum({each}) AS {each}' for each in SUMS)}"
    changes = (
        f"SELECT {columns}, min(first_at) FROM ({both}) AS parts ({COLUMNS}) GROUP BY {', '.join(KEY)} "
        f"HAVING {' OR '.join(f'sum({each}) <> 0' for each in SUMS)} ORDER BY {', '.join(KEY)}"
    )
    body = f"BEGIN {_added(changes, 'least')}; RETURN NULL; END"
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
        (
            f"CREATE TRIGGER {name} AFTER {event} ON {table} REFERENCING {seen} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
        ),
    )


def _added(rows: str, least: str) -> str:
    """Adds the rows to those with the same key. The earlier time counts; NULL is no time."""
    sums = ", ".join(f"{each} = tally.{each} + excluded.{each}" for each in SUMS)
    first = f"coalesce({least}(tally.first_at, excluded.first_at), tally.first_at, excluded.first_at)"
    return (
        f"INSERT INTO tally ({COLUMNS}) {rows} "
        f"ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET {sums}, first_at = {first}"
    )
