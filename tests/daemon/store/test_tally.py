"""Counts are what counting the rows would give, on both databases, whatever happens to the rows."""

import threading
from collections import Counter
from collections.abc import Callable
from importlib import import_module

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, delete, select, text, update

from daemon.store import tally, verdicts
from daemon.store.judgements import Wanted, request
from daemon.store.store import Store
from daemon.store.tables import (
    DeadLetterRow,
    JudgementRow,
    LabelRow,
    PreferenceRow,
    TraceRow,
    VerdictRow,
)
from daemon.store.tally import Tally, VerdictCount
from policies.records import Split
from policies.states import Purpose
from tests.daemon.stages.seeding import (
    Within,
    add_label,
    add_labelled,
    add_trace,
    add_traces,
    add_verdicts,
    at_once,
    put,
    rows,
    table,
)
from tests.judges import GATE, SMALL

BY_ROLE = (
    "DROP INDEX ix_judgement_queue",
    "DROP INDEX ix_verdict_newest",
    "ALTER TABLE judgement DROP COLUMN judge",
    "CREATE INDEX ix_judgement_queue ON judgement (state, role, not_before, id)",
    "CREATE INDEX ix_verdict_newest ON verdict (role, kind, created_at)",
)
"""What makes judgements those of roles again."""
COUNTED = (TraceRow, DeadLetterRow, LabelRow, PreferenceRow, JudgementRow, VerdictRow)


def counted(store: Store) -> Tally:
    """The same from the rows themselves."""
    found = Tally()
    for row in COUNTED:
        if number := len(rows(store, row)):
            found.rows[str(row.__tablename__)] = number
    for (judge, state), number in Counter(
        (each.judge, each.state) for each in rows(store, JudgementRow)
    ).items():
        found.judgements.setdefault(judge, {})[state] = number
    for each in rows(store, VerdictRow):
        one = VerdictCount(
            1, each.abstention is not None, each.reward is not None, each.reward or 0.0, each.created_at
        )
        found.verdicts[each.judge, each.version] = (
            found.verdicts.get((each.judge, each.version), VerdictCount()) + one
        )
    return found


def fill(to: Within) -> None:
    """Something of everything that is counted."""
    traces = add_traces(to, [f"t{number}" for number in range(6)], Split.TRAIN)
    add_labelled(to, {"one": True, "two": False})
    add_verdicts(
        to,
        [
            {"trace_id": traces[0], "candidate_id": traces[0], "reward": 4.0, "created_at": 9.0},
            {"trace_id": traces[1], "candidate_id": traces[1], "abstention": "refused", "version": "v2"},
        ],
    )
    place = {"source": "agent", "topic": "t", "partition": 0, "index": 0}
    put(to, DeadLetterRow, **place, offset=1, body=b"x", reason="no JSON", stored_at=1.0)
    pair = {"chosen_id": 1, "rejected_id": 2, "margin": 3.0, "difference": 1.0, "verdict_ids": []}
    whose = {"trace_id": traces[0], "cluster": "t0", "contributor": "ann"}
    put(to, PreferenceRow, **whose, **pair, weight=1.0, soft=1.0, created_at=1.0)


def test_the_counts_are_those_of_the_rows(store: Store) -> None:
    """By table, by role and state, by role and version, with the rewards' sum and the first verdict."""
    assert store.read(tally.read) == Tally()
    at_once(store, fill)
    found = store.read(tally.read)
    assert found == counted(store)
    assert found.rows == {
        "trace": 8,
        "dead_letter": 1,
        "label": 2,
        "preference": 1,
        "judgement": 10,
        "verdict": 10,
    }
    assert found.verdicts["small", "v2"] == VerdictCount(1, 1, 0, 0.0, 0.0)
    assert found.given()["small"].mean_reward == pytest.approx((8 + 3 + 8 + 3 + 4) / 5)


def test_what_becomes_of_rows_is_counted(store: Store) -> None:
    """Judgements that end and are opened again, a label that is changed, verdicts and traces that go."""
    at_once(store, fill)
    wanted = [Wanted(SMALL, "score", Purpose.TRAFFIC, 1, 1), Wanted(GATE, "score", Purpose.TRAFFIC, 1, 1)]
    assert store.write(lambda c: request(c, wanted, 1.0)) == 2
    assert store.write(lambda c: request(c, wanted, 2.0)) == 0
    assert store.read(tally.read).open() == {"small": 1, "gate": 1} == counted(store).open()
    judgement, verdict = table(JudgementRow), table(VerdictRow)
    for change in (
        update(judgement).where(judgement.c.role == "small").values(state="done"),
        update(judgement).where(judgement.c.role == "gate").values(attempts=judgement.c.attempts + 1),
        update(judgement).where(judgement.c.role == "large").values(state="open"),
        update(verdict).where(verdict.c.version == "v2").values(abstention=None, reward=2.0),
        delete(verdict).where(verdict.c.role == "gate"),
        delete(table(LabelRow)).where(table(LabelRow).c.candidate_id > 10),
    ):
        store.write(lambda c, change=change: c.execute(change))  # type: ignore[misc]
        assert store.read(tally.read) == counted(store)


def test_what_is_there_already_or_undone_counts_once(store: Store) -> None:
    """A row that a natural key refuses, and a transaction that fails, leave the counts as they are."""
    at_once(store, fill)
    before = store.read(tally.read)
    said = {**dict(store.read(lambda c: c.execute(select(table(VerdictRow))).mappings().all())[0])}
    del said["id"]
    assert store.write(lambda c: verdicts.insert(c, [said])) == 0

    def broken(to: Within) -> None:
        add_trace(to, "undone", Split.TRAIN)
        raise RuntimeError("undone")

    with pytest.raises(RuntimeError, match="undone"):
        at_once(store, broken)
    assert store.read(tally.read) == before == counted(store)


def test_writers_at_once_lose_no_count(store: Store) -> None:
    """Each of several connections adds traces and labels, in another order."""
    add_labelled(store, {"shared": True})

    def work(name: str, order: int) -> None:
        for number in range(5):

            def both(to: Within, number: int = number) -> None:
                parts: list[Callable[[], int]] = [
                    lambda: add_trace(to, f"{name}-{number}", Split.TRAIN),
                    lambda: add_label(to, 1, 2, 3, "a", reviewer=f"{name}{number}"),
                ]
                for part in parts[::order]:
                    part()

            at_once(store, both)

    threads = [threading.Thread(target=work, args=(f"w{each}", -1 if each % 2 else 1)) for each in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.read(tally.read)
    assert (found.of("trace"), found.of("label")) == (31, 31)
    assert found == counted(store)


def test_a_store_that_holds_rows_already_is_counted_once(store: Store) -> None:
    """The revision counts what is there; from then on the triggers do."""
    at_once(store, fill)
    store.write(lambda c: [c.execute(text(statement)) for statement in _undo(store)])
    add_trace(store, "before", Split.TRAIN)
    store.write(_revise)
    add_trace(store, "after", Split.TRAIN)
    assert store.read(tally.read) == counted(store)
    assert store.read(tally.read).of("trace") == 10


def test_names_that_only_look_different_become_one(store: Store) -> None:
    """The newer label on a pair counts, whichever name it was given under."""
    add_labelled(store, {"one": True, "two": True})
    store.write(lambda c: [c.execute(text(statement)) for statement in _undo(store)])
    store.write(lambda c: c.execute(delete(table(LabelRow))))
    for name, trace, choice, at in (
        *(("Ann ", 1, "a", 1.0), ("ann", 1, "b", 2.0), ("\uff41nn", 2, "a", 5.0), ("ann", 2, "b", 4.0)),
        ("Bob", 2, "a", 1.0),
    ):
        add_label(store, trace, 2 * trace + 1, 2 * trace + 2, choice, reviewer=name, at=at)
    store.write(_revise)
    found = {(row.reviewer, row.trace_id, row.choice) for row in rows(store, LabelRow)}
    assert found == {("ann", 1, "b"), ("ann", 2, "a"), ("bob", 2, "a")}
    assert store.read(tally.read) == counted(store)


def _undo(store: Store) -> list[str]:
    """What takes the store back to before the tallies."""
    if store.is_sqlite:
        named = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'tally_%'"
        drops = [f"DROP TRIGGER {name}" for name in store.read(lambda c: c.scalars(text(named)).all())]
    else:
        named = "SELECT proname FROM pg_proc WHERE proname LIKE 'tally_%'"
        drops = [
            f"DROP FUNCTION {name} CASCADE" for name in store.read(lambda c: c.scalars(text(named)).all())
        ]
    assert len(drops) == 14
    return [*drops, "DROP TABLE tally", *BY_ROLE]


def _revise(connection: Connection) -> None:
    """The revisions that keep counts by themselves: those between them have been made."""
    with Operations.context(MigrationContext.configure(connection)):
        for revision in ("0009_tallies_and_names", "0016_judges_by_name"):
            import_module(f"daemon.store.migrations.versions.{revision}").upgrade()
