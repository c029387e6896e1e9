"""The store: one SQLite file or one PostgreSQL database behind two verbs.

`read(work)` runs work on one read-only snapshot; `write(work)` runs it in a transaction that is committed
when `write` returns and leaves no trace when it raises. On SQLite all writes pass through one thread with
BEGIN IMMEDIATE, so that writers queue here instead of failing there; `synchronous=FULL` makes a commit
survive a power loss. On PostgreSQL the whole transaction is done again on a serialization failure or a lost
connection; where the connection is lost during COMMIT, a mark that the transaction wrote tells whether it
took effect, so that no work is done twice.

`urgent=True` is for halts: it runs on the calling thread and on connections kept for it, ahead of the queue.

No transaction is ever held across a call to another system, and none is opened inside another.
"""

import os
import random
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Transaction, create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from daemon.errors import RlaifdError, UsageError

T = TypeVar("T")
Work = Callable[[Connection], T]

BUSY_TIMEOUT_MS = 15_000
RETRY_S = 15.0
"""How long PostgreSQL may be away before work fails: a restart with crash recovery fits."""
OLDEST_SQLITE = (3, 35)  # RETURNING
OLDEST_POSTGRESQL = 130_000  # pg_current_xact_id_if_assigned
CONFLICT_RETRIES = 3
"""A unique key that another transaction took between our look and our insert is there at the next look."""


class StoreError(RlaifdError):
    """The database cannot be used. The message says which and why."""


class StoreBusyError(StoreError):
    """The database cannot be used now: locked, full, or away. The same work may succeed later."""


class Store:
    """Reads and writes on one database. Safe to use from any thread; `close` waits for writes under way.

    Raises StoreError (StoreBusyError where waiting may help) when the database is at fault, and SQLAlchemy's
    IntegrityError, DataError and ProgrammingError when the work is. In-memory SQLite is refused: every
    connection would see a database of its own. `patience_s`: how long a PostgreSQL that is away is asked
    again; None: `RETRY_S`.
    """

    def __init__(self, url: str, *, patience_s: float | None = None) -> None:
        self._patience_s = patience_s
        self.url = database_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        make = _sqlite_engine if self.is_sqlite else _postgres_engine
        self.engine = make(url, pool_size=10, max_overflow=20)
        self._urgent_engine = make(url, pool_size=1, max_overflow=3)
        self._urgent = threading.Lock()
        self._local = threading.local()
        self._id = secrets.token_hex(8)
        self._swept = False
        self._writer = ThreadPoolExecutor(1, "store-writer") if self.is_sqlite else None
        self._file: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The database's address without its password, which may also be among the options behind the `?`."""
        return self.url.set(query={}).render_as_string(hide_password=True)

    def read(self, work: Work[T], *, urgent: bool = False) -> T:
        """Runs `work` on a read-only connection, on one snapshot, and returns its result."""
        engine = self._urgent_engine if urgent else self.engine
        return self._attempt(lambda: self._read(engine, work))

    def write(self, work: Work[T], *, urgent: bool = False) -> T:
        """Runs `work` in one transaction: committed when this returns, undone when it raises.

        Raises RuntimeError when called from inside another write: it would wait for itself.
        """
        if getattr(self._local, "writing", False):
            raise RuntimeError("a write inside a write would wait for itself: pass the connection on")
        if urgent:
            with self._urgent:
                return self._attempt(lambda: self._write(self._urgent_engine, work))
        if self._writer is None:
            return self._attempt(lambda: self._write(self.engine, work))
        try:
            queued = self._writer.submit(self._attempt, lambda: self._queued(work))
        except RuntimeError:
            raise StoreError(f"store {self.name}: closed") from None
        return queued.result()

    def close(self) -> None:
        """Waits for writes under way and closes the connections. May be called again."""
        if self._writer is not None:
            self._writer.shutdown(wait=True)
        self.engine.dispose()
        self._urgent_engine.dispose()

    def _read(self, engine: Engine, work: Work[T]) -> T:
        options: dict[str, Any] = {"rlaifd_readonly": True}
        if not self.is_sqlite:
            options |= {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
        with engine.connect().execution_options(**options) as connection, connection.begin():
            self._require_same_file()
            return work(connection)

    def _queued(self, work: Work[T]) -> T:
        with self._urgent:
            pass  # an urgent write waits for the lock that the previous write held: it goes first
        return self._write(self.engine, work)

    def _write(self, engine: Engine, work: Work[T]) -> T:
        with engine.connect() as connection, self._marked():
            transaction = connection.begin()
            try:
                self._require_same_file()
                result = work(connection)
                token = None if self.is_sqlite else self._mark(connection)
            except BaseException:
                transaction.rollback()
                raise
            self._commit(transaction, token)
        return result

    def _require_same_file(self) -> None:
        """Raises StoreError where the SQLite file was removed or exchanged: nobody else sees the open one."""
        if not self.is_sqlite:
            return
        try:
            status = Path(str(self.url.database)).stat()
            found = (status.st_dev, status.st_ino)
        except OSError:
            found = None
        self._file = self._file or found
        if found != self._file:
            raise StoreError(
                f"store {self.name}: its file was removed or exchanged while in use: put it back, or restart"
            )

    def _mark(self, connection: Connection) -> str | None:
        """Writes this transaction's mark; None where it has written nothing else."""
        slot, token = f"{self._id}:{threading.get_ident()}", secrets.token_hex(8)
        if connection.execute(_MARK, {"slot": slot, "token": token}).rowcount == 0:
            return None
        if not self._swept:
            self._swept = True
            connection.execute(_SWEEP)
        return token

    def _commit(self, transaction: Transaction, token: str | None) -> None:
        try:
            transaction.commit()
        except DBAPIError as error:
            transaction.rollback()
            if token is None or not error.connection_invalidated or not self._committed(token):
                raise

    def _committed(self, token: str) -> bool:
        """Whether a transaction took effect whose COMMIT was not answered.

        Waits for one that the server is still committing: its mark is locked until then.
        """
        slot = f"{self._id}:{threading.get_ident()}"

        def ask() -> bool:
            with self.engine.connect() as connection, connection.begin():
                connection.execute(_OCCUPY, {"slot": slot})
                return bool(connection.scalar(_READ_MARK, {"slot": slot}) == token)

        return self._attempt(ask)

    @contextmanager
    def _marked(self) -> Iterator[None]:
        """Remembers that this thread is inside a write."""
        self._local.writing = True
        try:
            yield
        finally:
            self._local.writing = False

    def _attempt(self, run: Callable[[], T]) -> T:
        """Runs again what may succeed now; says in one line what did not."""
        deadline = time.monotonic() + (RETRY_S if self._patience_s is None else self._patience_s)
        attempt = 0
        while True:
            try:
                return run()
            except (DBAPIError, PoolTimeoutError) as error:
                attempt += 1
                again = isinstance(error, DBAPIError) and _worth_retrying(error, attempt)
                if not again or time.monotonic() >= deadline:
                    raise self._explained(error) from error
            time.sleep(min(1.0, 0.05 * 2**attempt) * (0.5 + random.random()))

    def _explained(self, error: DBAPIError | PoolTimeoutError) -> Exception:
        """The error as a StoreError where the database is at fault, else as it is."""
        if isinstance(error, PoolTimeoutError):
            return StoreBusyError(f"store {self.name}: all connections are in use")
        if _schema_lacks(error):
            return StoreError(f"store {self.name}: {_first_line(error)}: run `rlaifd db upgrade`")
        why = _first_line(error)
        if _is_damaged(error):
            return StoreError(f"store {self.name}: {why}: restore a backup, or name another store.url")
        if not isinstance(error, OperationalError | InterfaceError | InternalError):
            return error
        kind = StoreBusyError if _may_pass(error) else StoreError
        return kind(f"store {self.name}: {_ADVICE.get(why, why)}")


def _first_line(error: DBAPIError) -> str:
    return (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]


def database_url(url: str) -> URL:
    """The URL of a database that is known here. Raises UsageError, which never shows what was written."""
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        backend = ""
    if backend not in {"sqlite", "postgresql", "postgres"}:
        raise UsageError("store.url is not a database URL: sqlite:///FILE or postgresql://…")
    if "@" in (parsed.host or ""):
        raise UsageError("store.url: its password holds an @: write that as %40")
    return parsed


def _is_damaged(error: DBAPIError) -> bool:
    """Whether the file is no SQLite database, or one that is broken."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}


def _schema_lacks(error: DBAPIError) -> bool:
    """Whether a table or column is missing."""
    if isinstance(error.orig, sqlite3.Error):
        return str(error.orig).startswith(("no such table", "no such column"))
    return getattr(error.orig, "sqlstate", None) in {"42P01", "42703"}


# A transaction id would not do as a mark: after a crash PostgreSQL may give the same one out again.
_MARK = text(
    "INSERT INTO commit_mark (slot, token, at) SELECT :slot, :token, extract(epoch FROM now()) "
    "WHERE pg_current_xact_id_if_assigned() IS NOT NULL "
    "ON CONFLICT (slot) DO UPDATE SET token = excluded.token, at = excluded.at"
)
_SWEEP = text("DELETE FROM commit_mark WHERE at < extract(epoch FROM now()) - 86400")
_OCCUPY = text(
    "INSERT INTO commit_mark (slot, token, at) VALUES (:slot, '', extract(epoch FROM now())) "
    "ON CONFLICT DO NOTHING"
)
_READ_MARK = text("SELECT token FROM commit_mark WHERE slot = :slot FOR UPDATE")
_ADVICE = {
    "database or disk is full": "the disk is full: nothing was written; free space and work goes on",
    "database is locked": "locked by another process for longer than "
    f"{BUSY_TIMEOUT_MS // 1000} s: nothing was written; it is tried again",
    "attempt to write a readonly database": "written to in a read, or the file is not writable",
}


def _worth_retrying(error: DBAPIError, attempt: int) -> bool:
    """Whether the whole transaction may succeed when done again at once. Never on SQLite: it has waited."""
    if isinstance(error.orig, sqlite3.Error):
        return False
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if isinstance(error, IntegrityError):
        return state == "23505" and attempt <= CONFLICT_RETRIES
    if state is not None:
        return state in {"40001", "40P01"} or state.startswith(("08", "57P0"))
    return isinstance(error, OperationalError)


def _may_pass(error: DBAPIError) -> bool:
    """Whether the same work may succeed later, without a person changing the configuration."""
    if isinstance(error.orig, sqlite3.Error):
        code = getattr(error.orig, "sqlite_errorcode", None)
        passing = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
        return code is not None and (code & 0xFF) in passing
    state = getattr(error.orig, "sqlstate", None)
    return state is None or state.startswith(("08", "40", "53", "55", "57"))


def _postgres_engine(url: str, *, pool_size: int, max_overflow: int) -> Engine:
    parsed = make_url(url)
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    defaults = {"connect_timeout": "10", "application_name": "rlaifd"}
    given = {name: value for name, value in defaults.items() if name not in parsed.query}
    engine = create_engine(
        parsed,
        pool_pre_ping=True,
        pool_size=pool_size,
        max_overflow=max_overflow,
        connect_args=given,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        version = connection.info.server_version
        if version < OLDEST_POSTGRESQL:
            raise StoreError(f"PostgreSQL {version // 10_000} is too old: 13 or newer is needed")

    return engine


def _sqlite_engine(url: str, *, pool_size: int, max_overflow: int) -> Engine:
    database = make_url(url).database
    if not database or ":memory:" in database or "mode=memory" in url:
        raise UsageError("store.url: in-memory SQLite is not supported: name a file")
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed")
    try:
        if not database.startswith("file:"):
            Path(database).parent.mkdir(parents=True, exist_ok=True)
            # It holds the agent's logs: ours alone, and SQLite gives its journals the same mode.
            os.close(os.open(database, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"store {database}: {error.strerror}: {error.filename}") from error
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=max_overflow,
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late; ours is below
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        _enter_wal(connection)
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        readonly = connection.get_execution_options().get("rlaifd_readonly", False)
        connection.exec_driver_sql(f"PRAGMA query_only={'ON' if readonly else 'OFF'}")
        connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")

    return engine


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Of several that open a new file at once SQLite turns some away without waiting: they ask again."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def ping(store: Store) -> None:
    """Raises StoreError with one line when the database does not answer."""
    store.read(lambda connection: connection.execute(text("SELECT 1")))
