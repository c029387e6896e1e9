"""What is taken for a database, and what is said of one that is not what it should be."""

import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from daemon.errors import UsageError
from daemon.store import store as module
from daemon.store.store import Store, StoreBusyError, StoreError, ping


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_in_memory_sqlite_is_refused(url: str) -> None:
    """Every connection would see a database of its own."""
    with pytest.raises(UsageError, match="in-memory SQLite is not supported"):
        Store(url)


def test_what_is_no_url_is_refused_without_showing_it() -> None:
    """It may hold a password."""
    with pytest.raises(UsageError, match=r"store\.url is not a database URL") as refused:
        Store("postgres secret")
    assert "secret" not in str(refused.value)


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    """It names the path, and is not an operating system's trace."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Not a directory"):
        Store(f"sqlite:///{tmp_path / 'file' / 'folder' / 'rlaifd.db'}")


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_a_database_that_is_too_old_is_refused(
    backend: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its version, before any statement that it does not know."""
    url = request.getfixturevalue(f"{backend}_store").url.render_as_string(hide_password=False)
    monkeypatch.setattr(module, "OLDEST_SQLITE", (99,))
    monkeypatch.setattr(module, "OLDEST_POSTGRESQL", 990_000)
    with pytest.raises(StoreError, match="is too old"):
        ping(Store(url))


def test_ping_says_which_database_is_away_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names the address, after the retries."""
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    store = Store("postgresql://ann:hunter2@127.0.0.1:1/rlaifd")
    with pytest.raises(StoreBusyError, match=r"ann:\*\*\*@127\.0\.0\.1:1/rlaifd: .*refused") as away:
        ping(store)
    store.close()
    assert "hunter2" not in str(away.value)
    assert "\n" not in str(away.value)


@pytest.mark.parametrize("url", ["garbage", "mysql://u:hidden@h/d", "postgresql://u:hidden@h:port/d"])
def test_only_known_databases_are_taken(url: str) -> None:
    """One line, without the password."""
    with pytest.raises(UsageError, match=r"store\.url") as caught:
        Store(url)
    assert "hidden" not in str(caught.value)


def test_a_password_among_the_options_is_not_shown() -> None:
    """`?password=` is a way to write it: what is behind the `?` is in no message."""
    store = Store("postgresql://u@127.0.0.1:1/db?password=CANARY&sslpassword=CANARY", patience_s=0)
    try:
        with pytest.raises(StoreError) as caught:
            ping(store)
    finally:
        store.close()
    assert "CANARY" not in str(caught.value)
    assert store.name == "postgresql://u@127.0.0.1:1/db"


def test_half_a_password_is_not_taken_for_the_host() -> None:
    """A password with an @ in it would show its second half in every message."""
    with pytest.raises(UsageError, match="%40") as caught:
        Store("postgresql://u:first@second@host/d")
    assert "second" not in str(caught.value)


def test_a_file_that_is_no_database_is_said_so(tmp_path: Path) -> None:
    """Reading and writing both answer one line."""
    (tmp_path / "r.db").write_bytes(b"no database" * 1000)
    store = Store(f"sqlite:///{tmp_path}/r.db")
    for use in (store.read, store.write):
        with pytest.raises(StoreError, match=r"r\.db: file is not a database: restore"):
            use(lambda c: c.execute(text("SELECT 1")))
    store.close()


def test_a_removed_file_is_noticed(tmp_path: Path) -> None:
    """Rows that go to a file without a name are lost: the store refuses until the file is back."""
    file, aside = tmp_path / "r.db", tmp_path / "aside.db"
    store = Store(f"sqlite:///{file}")
    store.write(lambda c: c.execute(text("CREATE TABLE plain (id INTEGER)")))
    file.rename(aside)
    for use in (store.read, store.write):
        with pytest.raises(StoreError, match="removed or exchanged"):
            use(lambda c: c.execute(text("SELECT 1")))
    aside.rename(file)
    store.write(lambda c: c.execute(text("INSERT INTO plain VALUES (1)")))
    store.close()


def test_a_new_database_is_its_owners_alone(tmp_path: Path) -> None:
    """It holds the agent's logs, whatever the umask lets others read."""
    former = os.umask(0o022)
    try:
        store = Store(f"sqlite:///{tmp_path}/r.db")
        store.write(lambda c: c.execute(text("CREATE TABLE plain (id INTEGER)")))
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
        store.close()
    finally:
        os.umask(former)
    assert modes
    assert set(modes.values()) == {0o600}, modes


def test_a_new_file_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    """As by two commands on a new state directory: nobody is told that it is locked."""

    def enter(file: Path, together: threading.Barrier) -> None:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            together.wait()
            module._enter_wal(connection)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")

    with ThreadPoolExecutor(4) as pool:
        for number in range(150):
            together = threading.Barrier(4)
            entering = [pool.submit(enter, tmp_path / f"{number}.db", together) for _ in range(4)]
            for each in entering:
                each.result()
