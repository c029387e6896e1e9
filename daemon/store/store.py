"""The store: one SQLite file or one PostgreSQL database behind two verbs.

`read(work)` runs work in a read-only transaction; `write(work)` runs it in one that commits or leaves no
trace. On SQLite all writes pass through one thread with BEGIN IMMEDIATE, so that writers queue here instead
of failing there; `synchronous=FULL` makes a commit survive a power loss. On PostgreSQL the whole transaction
is done again on a serialization failure or a lost connection: work must therefore be repeatable, which the
natural keys make it.

No transaction is ever held across a call to another system.
"""

import random
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError

from daemon.errors import RlaifdError

T = TypeVar("T")
Work = Callable[[Connection], T]

BUSY_TIMEOUT_MS = 15_000
RETRIES = 6


class StoreError(RlaifdError):
    """The database cannot be used. The message says which and why."""


class Store:
    """Reads and writes on one database. Safe to use from any thread; `close` waits for writes under way."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(url) if self.is_sqlite else _postgres_engine(url)
        self._writer = (
            ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer") if self.is_sqlite else None
        )

    def read(self, work: Work[T]) -> T:
        """Runs `work` on a read-only connection and answers its result."""
        return self._attempt(lambda: self._run(work, readonly=True))

    def write(self, work: Work[T]) -> T:
        """Runs `work` in one transaction: committed when this returns, undone when it raises."""
        if self._writer is None:
            return self._attempt(lambda: self._run(work, readonly=False))
        return self._writer.submit(self._attempt, lambda: self._run(work, readonly=False)).result()

    def close(self) -> None:
        """Waits for writes under way and closes the connections."""
        if self._writer is not None:
            self._writer.shutdown(wait=True)
        self.engine.dispose()

    def _run(self, work: Work[T], *, readonly: bool) -> T:
        options = {"rlaifd_readonly": True} if readonly else {}
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            return work(connection)

    def _attempt(self, run: Callable[[], T]) -> T:
        for attempt in range(RETRIES):
            try:
                return run()
            except DBAPIError as error:
                if attempt == RETRIES - 1 or not _worth_retrying(error):
                    raise
                time.sleep(min(2.0, 0.05 * 2**attempt) * (0.5 + random.random()))
        raise AssertionError("unreachable")


def _worth_retrying(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state in {"40001", "40P01"} or state.startswith(("08", "57P0")) or state == "23505"
    return isinstance(error, OperationalError) and not isinstance(error.orig, sqlite3.Error)


def _postgres_engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    return create_engine(parsed, pool_pre_ping=True, pool_size=10, max_overflow=10)


def _sqlite_engine(url: str) -> Engine:
    database = make_url(url).database
    if database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late; ours is below
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={BUSY_TIMEOUT_MS}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        readonly = connection.get_execution_options().get("rlaifd_readonly", False)
        connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")

    return engine


def ping(store: Store) -> None:
    """Raises StoreError with one line when the database does not answer."""
    try:
        store.read(lambda connection: connection.execute(text("SELECT 1")))
    except DBAPIError as error:
        where = store.url.render_as_string(hide_password=True)
        raise StoreError(f"store {where}: {str(error.orig).splitlines()[0]}") from error
