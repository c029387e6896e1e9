"""Nothing waits for ever for a judge that is configured no more, on both databases."""

from typing import Any

import pytest

from daemon.clock import FakeClock
from daemon.stages.judge.recheck import Recheck
from daemon.store import claims, judgements, successors, tally
from daemon.store.judgements import Wanted
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, JudgementRow, TraceRow
from policies.judging.judges import NamedJudge
from policies.records import Role, Split
from policies.states import Purpose
from tests.daemon.stages.seeding import Within, add_traces, at_once, rows
from tests.judges import GATE, LARGE, SMALL, named

HAIKU = named(Role.SMALL, name="haiku")


def wanted(store: Store, judge: NamedJudge, *events: str) -> list[Wanted]:
    """Scores of the logged answers to these events, asked for."""
    known = {row.event_id: row.id for row in rows(store, TraceRow)}

    def add(to: Within) -> None:
        if fresh := [each for each in events if each not in known]:
            add_traces(to, fresh, Split.TRAIN)

    at_once(store, add)
    traces = {row.event_id: row.id for row in rows(store, TraceRow)}
    answers = {row.trace_id: row.id for row in rows(store, CandidateRow)}
    asked = [Wanted(judge, "score", Purpose.TRAFFIC, traces[each], answers[traces[each]]) for each in events]
    store.write(lambda c: judgements.request(c, asked, 0.0))
    return asked


def inherited(store: Store, *judges: NamedJudge, now: float = 5.0) -> int:
    return store.write(lambda c: successors.inherit(c, judges, now=now))


def told(store: Store) -> list[tuple[Any, ...]]:
    return [(row.judge, row.role, row.state, row.key) for row in rows(store, JudgementRow)]


def test_what_waits_goes_to_who_has_the_role(store: Store) -> None:
    """Under the key that the successor's own request would have, so that it is asked for once."""
    wanted(store, SMALL, "one", "two")
    wanted(store, GATE, "one")
    assert inherited(store, HAIKU, LARGE, GATE) == 2
    assert [each[:3] for each in told(store)] == [
        ("haiku", "small", "open"),
        ("haiku", "small", "open"),
        ("gate", "gate", "open"),
    ]
    before = told(store)
    wanted(store, HAIKU, "one", "two")
    assert told(store) == before
    assert inherited(store, HAIKU, LARGE, GATE) == 0
    assert store.read(tally.read).open() == {"haiku": 2, "gate": 1}
    taken = store.write(
        lambda c: claims.claim(c, judge="haiku", owner="o", now=9.0, expires_at=99.0, limit=9)
    )
    assert [each.judge for each in taken] == ["haiku", "haiku"]


def test_what_the_successor_was_asked_already_is_closed(store: Store) -> None:
    """One question is not paid for twice."""
    wanted(store, SMALL, "one", "two")
    wanted(store, HAIKU, "two")
    assert inherited(store, HAIKU) == 2
    assert [each[:3] for each in told(store)] == [
        ("haiku", "small", "open"),
        ("small", "small", "failed"),
        ("haiku", "small", "open"),
    ]


def test_a_claim_that_lasts_and_a_role_that_nobody_has_are_left_alone(store: Store) -> None:
    """A worker that has not heard of the change finishes what it has in hand."""
    wanted(store, SMALL, "one")
    wanted(store, GATE, "one")
    store.write(lambda c: claims.claim(c, judge="small", owner="o", now=0.0, expires_at=10.0, limit=9))
    assert inherited(store, HAIKU, now=9.0) == 0
    assert inherited(store, HAIKU, now=11.0) == 1
    assert [each[0] for each in told(store)] == ["haiku", "gate"]


def test_the_recheck_does_it_in_pages(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step passes on all that it can; there is nothing to do while everybody is configured."""
    monkeypatch.setattr(successors, "PAGE", 2)
    wanted(sqlite_store, SMALL, "one", "two", "three")
    judges = (HAIKU, LARGE, GATE)
    assert Recheck(store=sqlite_store, clock=FakeClock(5.0), judges=judges, most=9).step() == 3
    assert {each[0] for each in told(sqlite_store)} == {"haiku"}
    assert Recheck(store=sqlite_store, clock=FakeClock(5.0), judges=judges, most=9).step() == 0
