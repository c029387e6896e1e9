"""The ledger: chain, tampering, and what the database itself refuses."""

import math
import threading
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from daemon.store import ledger
from daemon.store.ledger import Head
from daemon.store.store import Store

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def append(store: Store, count: int = 1, **detail: Any) -> None:
    for number in range(count):
        one: dict[str, Any] = {
            "at": 1e9 + number / 3,
            "actor": "ann",
            "action": "halt",
            "subject": "training",
        }
        one |= {"reason": f"reason {number}", "detail": detail or {"number": number}}
        store.write(partial(ledger.append, **one))


def tamper(store: Store, *statements: str) -> None:
    """What somebody with full rights on the database can do."""
    drops = (
        [f"DROP TRIGGER ledger_no_{what}" for what in ("update", "delete", "replace")]
        if store.is_sqlite
        else ["DROP TRIGGER ledger_append_only ON ledger"]
    )
    for statement in [*drops, *statements]:
        store.write(partial(Connection.execute, statement=text(statement)))


def test_an_empty_ledger_holds(store: Store) -> None:
    """Nothing is a valid chain of length 0."""
    report = store.read(ledger.verify)
    assert (report.entries, report.head, report.broken_at) == (0, ledger.START, None)


def test_entries_are_numbered_and_chained(store: Store) -> None:
    """Verification answers length and head."""
    append(store, 5)
    report, head = store.read(ledger.verify), store.read(ledger.head)
    assert (report.entries, report.broken_at) == (5, None)
    assert head == Head(5, report.head)


@pytest.mark.parametrize(
    ("statement", "broken_at"),
    [
        ("UPDATE ledger SET reason = 'other' WHERE seq = 4", 4),
        ("UPDATE ledger SET at = at + 1 WHERE seq = 1", 1),
        ("UPDATE ledger SET detail = '{}' WHERE seq = 7", 7),
        ("UPDATE ledger SET actor = 'bob' WHERE seq = 9", 9),
        ("DELETE FROM ledger WHERE seq = 5", 5),
        ("DELETE FROM ledger WHERE seq = 1", 1),
    ],
)
def test_an_edit_or_a_removal_is_found_where_it_is(store: Store, statement: str, broken_at: int) -> None:
    """The first entry that does not hold is named."""
    append(store, 9)
    tamper(store, statement)
    assert store.read(ledger.verify).broken_at == broken_at


def test_reordering_is_found(store: Store) -> None:
    """Two entries that change places break the chain at the first of them."""
    append(store, 6)
    tamper(
        store,
        "UPDATE ledger SET seq = 99 WHERE seq = 3",
        "UPDATE ledger SET seq = 3 WHERE seq = 4",
        "UPDATE ledger SET seq = 4 WHERE seq = 99",
    )
    assert store.read(ledger.verify).broken_at == 3


def test_a_removal_that_renumbers_is_found(store: Store) -> None:
    """Closing the gap does not close the chain."""
    append(store, 4)
    tamper(
        store,
        "DELETE FROM ledger WHERE seq = 2",
        "UPDATE ledger SET seq = 2 WHERE seq = 3",
        "UPDATE ledger SET seq = 3 WHERE seq = 4",
    )
    assert store.read(ledger.verify).broken_at == 2


def test_a_cut_tail_is_found_with_a_head_kept_elsewhere(store: Store) -> None:
    """The chain alone cannot show it; the kept head does. So it does for a rewritten chain."""
    append(store, 6)
    kept = store.read(ledger.head)
    tamper(store, "DELETE FROM ledger WHERE seq > 4")
    assert store.read(ledger.verify).broken_at is None
    assert store.read(lambda c: ledger.verify(c, kept)).broken_at == 5
    append(store, 2, rewritten=True)
    assert store.read(ledger.verify).broken_at is None
    assert store.read(lambda c: ledger.verify(c, kept)).broken_at == 6


def test_a_kept_head_still_holds_after_more_entries(store: Store) -> None:
    """An honest chain that has grown is not called cut."""
    append(store, 3)
    kept = store.read(ledger.head)
    append(store, 3)
    assert store.read(lambda c: ledger.verify(c, kept)).broken_at is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET reason = 'other' WHERE seq = 1",
        "DELETE FROM ledger WHERE seq = 2",
        "DELETE FROM ledger",
    ],
)
def test_the_database_refuses_changes(store: Store, statement: str) -> None:
    """UPDATE and DELETE fail whoever sends them."""
    append(store, 2)
    with pytest.raises(DBAPIError, match="append-only"):
        store.write(lambda c: c.execute(text(statement)))
    assert store.read(ledger.verify).entries == 2


def test_sqlite_refuses_replacement(sqlite_store: Store) -> None:
    """INSERT OR REPLACE, which deletes without a DELETE trigger, fails too."""
    append(sqlite_store, 2)
    replace = "INSERT OR REPLACE INTO ledger SELECT seq, 0, 'b', action, subject, reason, detail, prev, hash"
    with pytest.raises(DBAPIError, match="append-only"):
        sqlite_store.write(lambda c: c.execute(text(f"{replace} FROM ledger WHERE seq = 1")))


def test_appends_at_once_make_one_chain(store: Store) -> None:
    """Four threads, one chain without gap or fork."""
    threads = [threading.Thread(target=append, args=(store, 25)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = store.read(ledger.verify)
    assert (report.entries, report.broken_at) == (100, None)


def test_an_undone_transaction_leaves_no_entry(store: Store) -> None:
    """The entry and what it records commit together or not at all."""

    def work(connection: Any) -> None:
        ledger.append(connection, at=1.0, actor="a", action="b", subject="c", reason="d", detail={})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.write(work)
    assert store.read(ledger.verify).entries == 0


def test_any_detail_hashes_the_same_after_being_stored(store: Store) -> None:
    """Large and small floats, NaN, NUL, lone surrogates: appended, read back, verified."""

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(detail=st.dictionaries(st.text(), JSON, max_size=4))
    def appended(detail: dict[str, Any]) -> None:
        store.write(
            lambda c: ledger.append(c, at=1.5, actor="a", action="b", subject="s", reason="r", detail=detail)
        )

    append(store, big=1e22, whole=2.0, small=1e-300, loss=math.nan, text="\x00\ud800", tiny=-0.0)
    appended()
    assert store.read(ledger.verify).broken_at is None
