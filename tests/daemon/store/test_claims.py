"""Claims on the queue of judgements, on both databases."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Literal, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import Connection, Table, insert, inspect, text

from daemon.store.claims import JUDGEMENT, Claim, claim, finish, release
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, TraceRow
from policies.records import Role

NOW = 1_700_000_000.0
TRACE, CANDIDATE = (cast(Table, inspect(row).local_table) for row in (TraceRow, CandidateRow))
PARENT = {"id": 1, "source": "s", "event_id": "e", "revision": 0, "digest": "d", "cluster": "c"}
PARENT |= {"split": "train", "ts": 0.0, "stored_at": 0.0}
CHILD = {"id": 1, "trace_id": 1, "origin": "logged", "adapter": "", "batch": "", "sample": 0}
CHILD |= {"text": "", "created_at": 0.0}


def fill(store: Store, count: int, *, role: Role = Role.SMALL, not_before: float = 0.0) -> None:
    """Open judgements of one candidate; the next ids."""

    def work(connection: Connection) -> None:
        if not connection.scalar(text("SELECT count(*) FROM trace")):
            connection.execute(insert(TRACE), [PARENT | {"payload": {}}])
            connection.execute(insert(CANDIDATE), [CHILD | {"output": []}])
        first = connection.scalar(text("SELECT coalesce(max(id), 0) FROM judgement")) or 0
        rows = [
            {"key": f"{role}/{first + number}", "judge": role.value, "role": role.value,
             "kind": "score", "purpose": "traffic",
             "trace_id": 1, "candidate_id": 1, "probability": 1.0, "state": "open", "attempts": 0,
             "not_before": not_before, "created_at": 0.0}
            for number in range(1, count + 1)
        ]  # fmt: skip
        connection.execute(insert(JUDGEMENT), rows)

    store.write(work)


def take(
    store: Store, limit: int = 10, *, owner: str = "ann", now: float = NOW, ttl: float = 60.0
) -> list[Claim]:
    return store.write(
        lambda c: claim(c, judge="small", owner=owner, now=now, expires_at=now + ttl, limit=limit)
    )


def close(store: Store, mine: Claim, state: Literal["done", "failed"] = "done") -> bool:
    return store.write(lambda c: finish(c, mine, state=state, now=NOW))


def states(store: Store) -> Counter[str]:
    return Counter(store.read(lambda c: c.execute(text("SELECT state FROM judgement")).scalars().all()))


def test_a_claim_carries_the_judgement_and_is_exclusive(store: Store) -> None:
    """Two claimers share the open rows; a third gets nothing."""
    fill(store, 5)
    ann, bob = take(store, 3), take(store, 3, owner="bob")
    assert [c.id for c in ann] == [1, 2, 3]
    assert [c.id for c in bob] == [4, 5]
    assert take(store) == []
    assert (ann[0].key, ann[0].role, ann[0].attempts, ann[0].owner) == ("small/1", Role.SMALL, 1, "ann")
    assert ann[0].token != bob[0].token


def test_open_work_is_ordered_by_due_time_then_id(store: Store) -> None:
    """What has been due longest comes first; what is not due does not come."""
    fill(store, 1, not_before=NOW - 10)
    fill(store, 1, not_before=NOW - 20)
    fill(store, 1, not_before=NOW + 1)
    fill(store, 1, not_before=NOW - 20)
    assert [c.id for c in take(store)] == [2, 4, 1]
    assert [c.id for c in take(store, now=NOW + 1)] == [3]


def test_roles_have_queues_of_their_own(store: Store) -> None:
    """A claimer of one role does not see another's work."""
    fill(store, 1, role=Role.GATE)
    assert take(store) == []


def test_an_expired_claim_is_taken_over_and_its_token_is_worth_nothing(store: Store) -> None:
    """The late worker can neither finish nor release."""
    fill(store, 1)
    (stale,) = take(store)
    assert take(store, now=NOW + 59) == []
    (fresh,) = take(store, owner="bob", now=NOW + 60)
    assert fresh.attempts == 2
    assert not close(store, stale)
    assert not store.write(lambda c: release(c, stale, not_before=0, error="late"))
    assert close(store, fresh)
    assert states(store) == {"done": 1}


def test_a_finished_judgement_is_finished_once(store: Store) -> None:
    """Not again, not otherwise, and nobody can claim it."""
    fill(store, 2)
    first, second = take(store)
    assert close(store, first)
    assert not close(store, first, "failed")
    assert close(store, second, "failed")
    assert take(store, now=NOW + 1e6) == []
    assert states(store) == {"done": 1, "failed": 1}


def test_late_work_that_nobody_took_over_counts(store: Store) -> None:
    """The expiry gives others the right to take over; until one does, the work is ours and paid for."""
    fill(store, 1)
    (mine,) = take(store, ttl=0.001)
    assert close(store, mine)


def test_released_work_comes_back_when_due_with_its_error(store: Store) -> None:
    """Attempts keep counting over releases."""
    fill(store, 1)
    (mine,) = take(store)
    assert store.write(lambda c: release(c, mine, not_before=NOW + 30, error="rate limited"))
    assert take(store, now=NOW + 29) == []
    (again,) = take(store, now=NOW + 30)
    assert again.attempts == 2
    assert store.read(lambda c: c.scalar(text("SELECT error FROM judgement"))) == "rate limited"


def test_claims_of_an_undone_transaction_never_were(store: Store) -> None:
    """A worker killed before its claim commits leaves the work open."""
    fill(store, 1)

    def work(connection: Connection) -> None:
        claim(connection, judge="small", owner="ann", now=NOW, expires_at=NOW + 60, limit=1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.write(work)
    assert [c.attempts for c in take(store)] == [1]


def test_the_queue_is_read_through_its_index(sqlite_store: Store) -> None:
    """A claim costs what it takes, not what is open: no scan and no sort."""
    query = (
        "EXPLAIN QUERY PLAN SELECT id FROM judgement WHERE state = 'open' AND judge = 'small' "
        "AND not_before <= 5 AND (token IS NULL OR expires_at <= 5) ORDER BY not_before, id LIMIT 9"
    )
    plan = sqlite_store.read(lambda c: c.execute(text(query)).all())
    assert "USING INDEX ix_judgement_queue" in str(plan)
    assert "TEMP B-TREE" not in str(plan)


def test_four_claimers_finish_5000_judgements_once_each(store: Store) -> None:
    """Some claims are abandoned and taken over; every judgement is finished exactly once."""
    fill(store, 5000)
    finished: list[int] = []
    refused: list[int] = []
    deadline = time.monotonic() + 120

    def close_all(connection: Connection, claims: list[Claim]) -> list[int]:
        return [mine.id for mine in claims if finish(connection, mine, state="done", now=NOW)]

    def worker(number: int) -> None:
        now = NOW + number / 10
        abandoned: list[Claim] = []
        while states(store)["open"] and time.monotonic() < deadline:
            claims = take(store, 100, owner=f"worker-{number}", now=now, ttl=1.0)
            now += 0.0 if claims else 1.1
            dropped = 3 if len(abandoned) < 30 else 0
            abandoned += claims[:dropped]
            finished.extend(store.write(partial(close_all, claims=claims[dropped:])))
        refused.extend(mine.id for mine in abandoned if not close(store, mine))

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states(store) == {"done": 5000}
    assert sorted(finished) == list(range(1, 5001))
    assert refused


class Queue(RuleBasedStateMachine):
    """Any interleaving of claim, finish, release and time, against a model of who holds what."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.store.write(lambda c: c.execute(text("DELETE FROM judgement")))
        fill(self.store, 6)
        self.now = NOW
        self.claims: list[Claim] = []
        self.holder: dict[int, str] = {}
        self.expiry: dict[int, float] = {}
        self.due: dict[int, float] = {}
        self.done: set[int] = set()

    @rule(limit=st.integers(1, 4), ttl=st.integers(1, 20))
    def claim(self, limit: int, ttl: int) -> None:
        taken = take(self.store, limit, now=self.now, ttl=ttl)
        assert len({mine.id for mine in taken}) == len(taken) <= limit
        for mine in taken:
            assert mine.id not in self.done
            assert mine.id not in self.holder or self.expiry[mine.id] <= self.now
            assert self.due.get(mine.id, 0) <= self.now
            self.holder[mine.id], self.expiry[mine.id] = mine.token, self.now + ttl
        self.claims += taken

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        mine = data.draw(st.sampled_from(self.claims))
        ours = self.holder.get(mine.id) == mine.token
        assert close(self.store, mine) == ours
        if ours:
            self.done.add(mine.id)
            del self.holder[mine.id]

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), wait=st.integers(0, 20))
    def release(self, data: st.DataObject, wait: int) -> None:
        mine = data.draw(st.sampled_from(self.claims))
        ours = self.holder.get(mine.id) == mine.token
        due = self.now + wait
        assert self.store.write(lambda c: release(c, mine, not_before=due, error="x")) == ours
        if ours:
            del self.holder[mine.id]
            self.due[mine.id] = due

    @rule(seconds=st.integers(1, 15))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @invariant()
    def what_is_done_stays_done(self) -> None:
        found = self.store.read(
            lambda c: c.execute(text("SELECT id FROM judgement WHERE state = 'done'")).scalars().all()
        )
        assert set(found) == self.done


@pytest.fixture
def queue_store(sqlite_store: Store) -> Iterator[Store]:
    Queue.store = sqlite_store
    yield sqlite_store
    del Queue.store


def test_any_interleaving_keeps_one_holder(queue_store: Store) -> None:
    """The stateful model above, on SQLite."""
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Queue, settings=settings(max_examples=30, stateful_step_count=25, deadline=None)
    )


def test_a_claim_that_was_no_attempt_is_due_as_it_was(store: Store) -> None:
    """What a halt or an empty purse puts back was not tried."""
    fill(store, 1, not_before=NOW - 5)
    for counts, attempts in ((False, 0), (True, 1), (False, 1)):
        (mine,) = store.write(
            lambda c: claim(c, judge="small", owner="o", now=NOW, expires_at=NOW + 60, limit=1)
        )
        assert store.write(partial(release, claim=mine, not_before=None, error="why", counts=counts))
        row = store.read(lambda c: c.execute(JUDGEMENT.select()).one())
        assert (row.attempts, row.not_before, row.error, row.token) == (attempts, NOW - 5, "why", None)
