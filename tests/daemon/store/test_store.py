"""The two verbs: what a commit means, and what happens when the database is at fault."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError, IntegrityError

from daemon.store import store as module
from daemon.store.schema import upgrade
from daemon.store.store import Store, StoreBusyError, StoreError
from tests.servers.postgres import Postgres

INSERT = text("INSERT INTO lease (name, owner, epoch, expires_at) VALUES (:name, 'ann', 1, 0)")

PLAIN = text("INSERT INTO plain VALUES (:writer, :step)")


def add(connection: Connection, name: str = "a") -> None:
    connection.execute(INSERT, {"name": name})


def names(store: Store) -> list[str]:
    return list(store.read(lambda c: c.execute(text("SELECT name FROM lease ORDER BY name")).scalars().all()))


def test_a_write_is_committed_when_it_returns(store: Store) -> None:
    """Another store on the same database sees it at once."""
    store.write(add)
    other = Store(store.url.render_as_string(hide_password=False))
    assert names(other) == ["a"]
    other.close()


def test_a_write_that_raises_leaves_no_trace(store: Store) -> None:
    """Whatever was raised reaches the caller."""

    def work(connection: Connection) -> None:
        add(connection)
        raise ZeroDivisionError

    for urgent in (False, True):
        with pytest.raises(ZeroDivisionError):
            store.write(work, urgent=urgent)
    assert names(store) == []


def test_a_read_cannot_write(store: Store) -> None:
    """The database refuses it, and the connection can write again later."""
    for _ in range(3):
        with pytest.raises(StoreError):
            store.read(add)
    store.write(add)
    assert names(store) == ["a"]


def test_a_read_sees_one_snapshot(store: Store) -> None:
    """What commits during a read is not seen by it, and it does not wait for writers."""

    def work(connection: Connection) -> tuple[int | None, int | None]:
        count = text("SELECT count(*) FROM lease")
        before = connection.scalar(count)
        other = threading.Thread(target=store.write, args=(add,))
        other.start()
        other.join(60)
        return before, connection.scalar(count)

    assert store.read(work) == (0, 0)
    assert names(store) == ["a"]


@pytest.mark.parametrize("urgent", [False, True])
def test_a_write_inside_a_write_is_refused_at_once(store: Store, urgent: bool) -> None:
    """It would wait for itself; the outer one is undone, and the store goes on working."""

    def work(connection: Connection) -> None:
        add(connection)
        store.write(add, urgent=urgent)

    with pytest.raises(RuntimeError, match="inside a write"):
        store.write(work)
    store.write(add)
    assert names(store) == ["a"]


def test_a_conflict_is_the_callers_and_is_not_retried_for_long(store: Store) -> None:
    """A unique key that stays taken is an IntegrityError within a second or so."""
    store.write(add)
    started = time.monotonic()
    with pytest.raises(IntegrityError):
        store.write(add)
    assert time.monotonic() - started < 30


def test_close_may_be_called_again_and_ends_writing(sqlite_store: Store) -> None:
    """A write after it says that the store is closed."""
    sqlite_store.write(add)
    sqlite_store.close()
    sqlite_store.close()
    with pytest.raises(StoreError, match="closed"):
        sqlite_store.write(add)


def test_a_missing_table_names_the_upgrade(store: Store) -> None:
    """An old schema is one clear line, not a driver's trace."""
    with pytest.raises(StoreError, match="rlaifd db upgrade"):
        store.read(lambda c: c.execute(text("SELECT 1 FROM not_yet")))


def test_a_locked_file_is_a_passing_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the busy timeout; when the other process lets go, the same work succeeds."""
    monkeypatch.setattr(module, "BUSY_TIMEOUT_MS", 50)
    store = Store(f"sqlite:///{tmp_path / 'rlaifd.db'}")
    upgrade(store)
    other = sqlite3.connect(tmp_path / "rlaifd.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for urgent in (False, True):
        with pytest.raises(StoreBusyError, match="locked by another process"):
            store.write(add, urgent=urgent)
    assert names(store) == []
    other.execute("ROLLBACK")
    other.close()
    store.write(add)
    assert names(store) == ["a"]
    store.close()


def test_a_lock_held_for_a_while_is_waited_for(sqlite_store: Store) -> None:
    """No error surfaces when another process writes for a second."""
    file = Path(str(sqlite_store.url.database))
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(1.0, other.execute, args=("ROLLBACK",))
    timer.start()
    sqlite_store.write(add)
    timer.join()
    other.close()
    assert names(sqlite_store) == ["a"]


def test_a_full_disk_is_a_passing_error_and_heals_itself(sqlite_store: Store) -> None:
    """Nothing of the failed write is there; once there is space the same store goes on."""

    def limit(connection: Connection, pages: int) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    def pages(connection: Connection) -> int:
        return int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())

    def big(connection: Connection) -> None:
        for number in range(500):
            add(connection, f"{number:04}" + "x" * 2000)

    full = sqlite_store.read(pages)
    sqlite_store.write(lambda c: limit(c, full))
    for _ in range(3):
        with pytest.raises(StoreBusyError, match="the disk is full: nothing was written"):
            sqlite_store.write(big)
        assert names(sqlite_store) == []
    sqlite_store.write(lambda c: limit(c, full + 10_000))
    sqlite_store.write(big)
    assert len(names(sqlite_store)) == 500
    assert sqlite_store.read(lambda c: c.scalar(text("PRAGMA integrity_check"))) == "ok"


def test_every_write_of_many_threads_arrives(store: Store) -> None:
    """Eight threads of two stores on one database, no error surfaces, nothing is lost."""
    other = Store(store.url.render_as_string(hide_password=False))
    failures: list[BaseException] = []

    def worker(number: int) -> None:
        try:
            for step in range(25):
                target = (store, other)[step % 2]
                target.write(partial(add, name=f"{number}-{step}"), urgent=step % 5 == 0)
        except BaseException as error:  # noqa: BLE001 - the test shows it
            failures.append(error)

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert failures == []
    assert len(names(store)) == 200


@pytest.mark.postgres
def test_text_that_postgresql_cannot_hold_is_the_callers(postgres_store: Store) -> None:
    """A NUL is a DataError, so that the one bad row can be told from a database at fault."""
    with pytest.raises(DataError):
        postgres_store.write(lambda c: add(c, "nul \x00"))


@pytest.mark.postgres
def test_a_deadlock_is_resolved_by_doing_the_transaction_again(postgres_store: Store) -> None:
    """Two transactions that lock two rows in opposite order both succeed."""
    for name in ("a", "b"):
        postgres_store.write(partial(add, name=name))
    both = threading.Barrier(2)
    tries: list[str] = []

    def swap(first: str, second: str) -> None:
        met = False

        def work(connection: Connection) -> None:
            nonlocal met
            tries.append(first)
            raise_epoch = text("UPDATE lease SET epoch = epoch + 1 WHERE name = :name")
            connection.execute(raise_epoch, {"name": first})
            if not met:
                met = True
                both.wait(60)
            connection.execute(raise_epoch, {"name": second})

        postgres_store.write(work)

    threads = [threading.Thread(target=swap, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    epochs = postgres_store.read(lambda c: c.execute(text("SELECT epoch FROM lease")).scalars().all())
    assert list(epochs) == [3, 3]
    assert len(tries) == 3


@pytest.fixture
def own_server(durable_postgres: Postgres) -> Iterator[tuple[Postgres, Store]]:
    """A store on a server that the test may restart."""
    store = Store(durable_postgres.create(), patience_s=60.0)
    upgrade(store)
    yield durable_postgres, store
    store.close()


@pytest.mark.postgres
def test_a_restart_under_load_loses_and_doubles_nothing(own_server: tuple[Postgres, Store]) -> None:
    """Writers without a natural key to save them: every write that returned is there once, and no other."""
    server, store = own_server
    assert server.cluster is not None
    store.write(lambda c: c.execute(text("CREATE TABLE plain (writer int, step int)")))
    stop = threading.Event()
    returned: dict[int, int] = {}
    failures: list[BaseException] = []

    def writer(number: int) -> None:
        step = 0
        try:
            while not stop.is_set():
                store.write(partial(Connection.execute, statement=PLAIN.bindparams(writer=number, step=step)))
                step += 1
                returned[number] = step
        except BaseException as error:  # noqa: BLE001 - the test shows it
            failures.append(error)

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        reached = sum(returned.values()) + 100
        deadline = time.monotonic() + 30
        while sum(returned.values()) < reached and not failures and time.monotonic() < deadline:
            time.sleep(0.01)
        server.cluster.restart("immediate")
    stop.set()
    for thread in threads:
        thread.join(60)
    assert failures == []
    rows = store.read(lambda c: c.execute(text("SELECT writer, step FROM plain")).all())
    expected = {(number, step) for number, count in returned.items() for step in range(count)}
    assert len(rows) == len(expected)
    assert {tuple(row) for row in rows} == expected


@pytest.mark.postgres
@pytest.mark.parametrize("happened", [True, False])
def test_a_commit_without_an_answer_happens_once(postgres_store: Store, happened: bool) -> None:
    """Took effect or not before the connection was lost: work without a natural key is there once."""
    store = postgres_store
    from sqlalchemy import event

    store.write(lambda c: c.execute(text("CREATE TABLE plain (n int)")))
    lost: list[str] = []

    def lose(connection: Connection) -> None:
        if not lost:
            lost.append("answer")
            driver = connection.connection.driver_connection
            assert driver is not None
            if happened:
                driver.commit()
            driver.close()

    event.listen(store.engine, "commit", lose)
    store.write(lambda c: c.execute(text("INSERT INTO plain VALUES (1)")))
    store.write(lambda c: c.scalar(text("SELECT 1")))
    event.remove(store.engine, "commit", lose)
    assert lost
    assert store.read(lambda c: c.scalar(text("SELECT count(*) FROM plain"))) == 1
