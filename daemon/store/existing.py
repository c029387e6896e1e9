"""A store that is there already, for a look that must leave nothing behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from daemon.store import schema
from daemon.store.store import Store, StoreError, database_url

MAGIC = b"SQLite format 3\0"
WAL = b"\x02\x02"
"""Bytes 18 and 19 of a file in WAL mode (SQLite's file format, 1.3), which `Store` leaves as it is."""


@contextmanager
def existing(url: str) -> Iterator[Store | None]:
    """The store with this build's schema; None where there is no file or no schema yet.

    Makes no file, changes no schema, and asks a server that is away only once. Raises StoreError for a file
    that is no store, for another schema, and where the database cannot be read; UsageError for no URL.
    """
    parsed = database_url(url)
    if parsed.get_backend_name() == "sqlite" and not _is_store(str(parsed.database or "")):
        yield None
        return
    store = Store(url, patience_s=0.0)
    try:
        if store.read(schema.current) is None:
            yield None
        else:
            schema.verify(store)
            yield store
    finally:
        store.close()


def _is_store(database: str) -> bool:
    """Whether the file holds a database; raises StoreError where it holds something else."""
    uri = database.startswith("file:")
    path = Path(unquote(database.removeprefix("file:").partition("?")[0]) if uri else database)
    try:
        with path.open("rb") as file:
            head = file.read(20)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"store {path}: {error.strerror}") from None
    if head and not (head.startswith(MAGIC) and head[18:20] == WAL):
        raise StoreError(f"store {path}: is not a database that rlaifd made: name another store.url")
    return bool(head)
