"""The schema's version and the migrations."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from daemon.store import agentversions, rollouts
from daemon.store.evaluations import gate_prompts
from daemon.store.migrations.compare import options
from daemon.store.schema import MIGRATIONS, revisions, upgrade, verify
from daemon.store.store import Store, StoreError
from policies.records import Split
from policies.rollout import Assignment
from tests.daemon.stages.seeding import add_trace, put_in_force

VERSIONED = (
    *("trace.agent_version", "preference.agent_version", "evaluation.agent_version"),
    *("snapshot.agent_versions", "rollout.canary", "rollout.share"),
)
"""Columns of revision 0017."""
SPANS_BEFORE = (
    "ALTER TABLE trace DROP COLUMN incomplete",
    "DROP TABLE span",
    """CREATE TABLE span (id INTEGER NOT NULL, source VARCHAR NOT NULL, trace_id VARCHAR NOT NULL,
    span_id VARCHAR NOT NULL, event_id VARCHAR, digest VARCHAR NOT NULL, ends_trace BOOLEAN NOT NULL,
    payload JSON, stored_at FLOAT NOT NULL, joined_at FLOAT, refused TEXT, PRIMARY KEY (id),
    UNIQUE (source, trace_id, span_id))""",
    "CREATE INDEX ix_span_open ON span (source, joined_at, trace_id)",
    "CREATE INDEX ix_span_event ON span (event_id)",
)
"""What makes spans as they were before revision 0019."""
JOINED = ("candidate.withdrawn", "trace.kept_with")
HEARD = tuple(f"feedback.{name}" for name in ("kind", "answer_id", "due_at", "joined_at"))
HEARD_BY = ("ix_feedback_due", "ix_feedback_joined", "ix_feedback_answer")
"""Columns and indexes of revision 0018."""


def test_migrated_schema_equals_the_tables(store: Store) -> None:
    """The revisions make what tables.py says; where they do not, README.md of the store says what to run."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def differences(connection: Connection) -> list[object]:
        wanted = options()
        metadata = wanted.pop("target_metadata")
        context = MigrationContext.configure(connection, opts=wanted | {"target_metadata": metadata})
        return list(compare_metadata(context, metadata))

    assert store.read(differences) == []


def test_head_is_alembics_head() -> None:
    """The head found by file names is the one that Alembic finds by following the revisions."""
    from alembic.script import ScriptDirectory

    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [revisions()[-1]]


def test_upgrade_and_verify_do_nothing_on_a_current_database(store: Store) -> None:
    """A second upgrade answers the same revision twice."""
    assert upgrade(store) == (revisions()[-1], revisions()[-1])
    verify(store)


def test_verify_names_the_command_when_there_is_no_schema(empty: Store) -> None:
    """A new database is refused with the way out."""
    with pytest.raises(StoreError, match="has no schema yet: run `rlaifd db upgrade`"):
        verify(empty)


def test_verify_names_the_command_when_the_schema_is_old(store: Store) -> None:
    """An older schema is refused with both revisions and the way out."""
    store.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": "0001"}))
    with pytest.raises(StoreError, match=r"schema is at 0001, this build needs .*rlaifd db upgrade"):
        verify(store)


def test_newer_schema_is_refused(store: Store) -> None:
    """A schema of a newer build is neither used nor migrated."""
    store.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": "9999"}))
    for refused in (verify, upgrade):
        with pytest.raises(StoreError, match="9999 is unknown to this build"):
            refused(store)


def test_two_upgrades_at_once_make_one_schema(empty: Store) -> None:
    """The second waits for the first and finds nothing to do."""
    url = empty.url.render_as_string(hide_password=False)
    stores = [Store(url) for _ in range(4)]
    befores: list[str | None] = []

    def run(store: Store) -> None:
        befores.append(upgrade(store)[0])

    threads = [threading.Thread(target=run, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.close()
    assert sorted(befores, key=str) == [revisions()[-1]] * 3 + [None]
    verify(empty)


def test_failed_migration_leaves_nothing_behind(empty: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The migration is one transaction: an error in a late revision undoes the early ones."""
    from alembic.operations import Operations

    def fail(self: Operations, *args: object, **kwargs: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Operations, "execute", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            upgrade(empty)
    with pytest.raises(StoreError, match="no schema yet"):
        verify(empty)
    upgrade(empty)
    verify(empty)


OLDER = (
    "DROP TABLE tally",
    "DROP INDEX ix_snapshot_created_at",
    "DROP INDEX ix_judgement_queue",
    "DROP INDEX ix_verdict_newest",
    "CREATE INDEX ix_judgement_queue ON judgement (state, role, not_before, id)",
    "CREATE INDEX ix_verdict_newest ON verdict (role, kind, created_at)",
)
"""What makes the first revision of a store, with the columns and tables below."""


def test_sqlite_file_is_copied_before_a_migration(sqlite_store: Store) -> None:
    """The copy holds the rows that were committed, those in the WAL included."""
    triggers = text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    for name in sqlite_store.read(lambda c: c.scalars(triggers).all()):
        sqlite_store.write(lambda c, name=name: c.execute(text(f"DROP TRIGGER {name}")))  # type: ignore[misc]
    for change in OLDER:
        sqlite_store.write(lambda c, change=change: c.execute(text(change)))  # type: ignore[misc]
    for later in (
        *("candidate.truncated", "candidate.tokens", "trace.trial", "trace.refused"),
        *("halt.epoch", "halt.resumed_on", "rollout.wish", "preference.sketch", "snapshot.left_out"),
        *("position.skipped", "candidate.unshown", "snapshot.candidate_ids", "snapshot.trace_ids"),
        *("snapshot.label_ids", "judgement.judge"),
        *("position.feedback", "position.spans", "trace.incomplete"),
        *(*JOINED, *VERSIONED),
    ):
        drop = "ALTER TABLE {} DROP COLUMN {}".format(*later.split("."))
        sqlite_store.write(lambda c, drop=drop: c.execute(text(drop)))  # type: ignore[misc]
    for table in (
        *("source_stop", "reservation", "reward_model", "feedback", "span"),
        *("agent_version", "agent_source", "source_loss"),
    ):
        sqlite_store.write(lambda c, table=table: c.execute(text(f"DROP TABLE {table}")))  # type: ignore[misc]
    sqlite_store.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '0001'")))
    sqlite_store.write(lambda c: c.execute(text("INSERT INTO lease VALUES ('a', 'me', 3, 1.0)")))
    upgrade(sqlite_store)
    file = Path(str(sqlite_store.url.database))
    with sqlite3.connect(file.with_name(f"{file.name}.before-{revisions()[-1]}")) as copy:
        assert copy.execute("SELECT owner, epoch FROM lease").fetchall() == [("me", 3)]
        assert copy.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
    copy.close()


def test_what_was_in_force_stays_when_the_agent_s_versions_come(store: Store) -> None:
    """The assignment reads as before, and traces and attempts have no version yet."""
    from alembic.script import ScriptDirectory

    before = ScriptDirectory(str(MIGRATIONS)).get_revision("0017").down_revision
    put_in_force(store, "agent-a", 1)
    trace = add_trace(store, "e", Split.GATE)
    later = [text(f"DROP INDEX {index}") for index in HEARD_BY]
    columns = (*VERSIONED, *JOINED, *HEARD)
    later += [text("ALTER TABLE {} DROP COLUMN {}".format(*each.split("."))) for each in columns]
    later += [text(f"DROP TABLE {table}") for table in ("agent_version", "agent_source", "source_loss")]
    later += [text(change) for change in SPANS_BEFORE]
    later.append(text("UPDATE alembic_version SET version_num = :v").bindparams(v=before))
    for change in later:
        store.write(lambda c, change=change: c.execute(change))  # type: ignore[misc]
    upgrade(store)
    verify(store)
    assert store.read(rollouts.in_force) == Assignment("agent-a", 1)
    assert store.read(agentversions.current) is None
    assert [prompt.trace_id for prompt in store.read(lambda c: gate_prompts(c, salt="", limit=9))] == [trace]


def test_spans_of_before_stay_when_they_may_have_parts(store: Store) -> None:
    """Each is itself, and what is logged of it has a place beside it."""
    from alembic.script import ScriptDirectory

    before = ScriptDirectory(str(MIGRATIONS)).get_revision("0019").down_revision
    for change in (*SPANS_BEFORE, "DROP TABLE source_loss"):
        store.write(lambda c, change=change: c.execute(text(change)))  # type: ignore[misc]
    old = "INSERT INTO span VALUES (7, 's', 't', 'a', NULL, 'd', true, NULL, 1.0, NULL, NULL)"
    store.write(lambda c: c.execute(text(old)))
    store.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": before}))
    upgrade(store)
    verify(store)
    kept = "SELECT id, span_id, part, digest FROM span"
    assert [tuple(row) for row in store.read(lambda c: c.execute(text(kept)).all())] == [
        (7, "a", "span", "d")
    ]
    columns = "id, source, trace_id, span_id, digest, ends_trace, stored_at, part"
    values = "8, 's', 't', 'a', 'd', false, 1.0, 'details'"
    store.write(lambda c: c.execute(text(f"INSERT INTO span ({columns}) VALUES ({values})")))  # noqa: S608
    assert store.read(lambda c: c.execute(text("SELECT count(*) FROM span")).scalar_one()) == 2


def test_a_new_sqlite_file_is_not_copied(tmp_path: Path) -> None:
    """There is nothing to keep in an empty database."""
    store = Store(f"sqlite:///{tmp_path / 'rlaifd.db'}")
    upgrade(store)
    store.close()
    assert not list(tmp_path.glob("*.before-*"))


def test_verify_does_not_import_alembic(sqlite_store: Store) -> None:
    """A daemon that starts on a current database does not load the migration tool."""
    program = (
        "import sys\nfrom daemon.store.schema import verify\nfrom daemon.store.store import Store\n"
        f"verify(Store({sqlite_store.url.render_as_string()!r}))\nprint('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
