"""The schema's version: bring a database to this build's, or say that it is not.

Revisions are the files of `migrations/versions`, named by their id; the newest file is the head. Alembic is
imported by `upgrade` alone: a daemon that starts on a current database does not pay for it.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from daemon.log import get
from daemon.store.store import Store, StoreError
from policies import durable

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
UPGRADE_LOCK = 0x726C6169  # pg_advisory_xact_lock key of an upgrade under way
log = get("store")


def revisions() -> tuple[str, ...]:
    """The ids of the revisions this build knows, oldest first."""
    files = (MIGRATIONS / "versions").glob("[0-9]*.py")
    return tuple(sorted(file.stem.split("_", 1)[0] for file in files))


def current(connection: Connection) -> str | None:
    """The database's revision, or None where there is no schema yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return version


def verify(store: Store) -> None:
    """Raises StoreError, one line that names the way out, unless the database has this build's schema."""
    found, head = store.read(current), revisions()[-1]
    if found == head:
        return
    where = store.name
    if found is None:
        raise StoreError(f"store {where}: has no schema yet: run `rlaifd db upgrade`")
    _refuse_newer(store, found)
    raise StoreError(f"store {where}: schema is at {found}, this build needs {head}: run `rlaifd db upgrade`")


def upgrade(store: Store) -> tuple[str | None, str]:
    """Brings the schema to this build's, in one transaction; returns the revisions before and after.

    Two upgrades at once queue: on an advisory lock on PostgreSQL, on BEGIN IMMEDIATE on SQLite. A SQLite
    database that already holds a schema is first copied aside as `<file>.before-<revision>`.
    Raises StoreError where the schema is newer than this build.
    """
    before, after = store.write(lambda connection: _upgrade(store, connection))
    if before != after:
        log.info("schema_upgraded", store=store.name, before=before, after=after)
    return before, after


def _upgrade(store: Store, connection: Connection) -> tuple[str | None, str]:
    if not store.is_sqlite:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
    before, head = current(connection), revisions()[-1]
    if before == head:
        return before, head
    if before is not None:
        _refuse_newer(store, before)
        if store.is_sqlite:
            _copy_aside(Path(str(store.url.database)), head)
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return before, head


def _refuse_newer(store: Store, found: str) -> None:
    if found not in revisions():
        raise StoreError(
            f"store {store.name}: schema {found} is unknown to this build (newest {revisions()[-1]}): "
            "a newer rlaifd made it; upgrade rlaifd"
        )


def _copy_aside(database: Path, head: str) -> None:
    """Copies the committed state through SQLite's backup: a plain file copy would miss the WAL."""
    copy = database.with_name(f"{database.name}.before-{head}")
    partial = copy.with_name(f"{copy.name}.part")
    partial.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(partial)) as target:
            source.backup(target)
        durable.sync(partial)
        partial.replace(copy)
        durable.sync(copy.parent)
    except (OSError, sqlite3.Error) as error:
        partial.unlink(missing_ok=True)
        raise StoreError(f"store {database}: no copy before the upgrade, nothing changed: {error}") from error
