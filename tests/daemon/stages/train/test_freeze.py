"""A snapshot is drafted from what the store knows of each preference: its words, age, topic and past."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from daemon.clock import FakeClock
from daemon.stages.train import freeze as freezing
from daemon.stages.train.freeze import Freezing, NoPreferencesError
from daemon.store import snapshots
from daemon.store.kinds import Draft
from daemon.store.store import Store
from daemon.store.tables import PreferenceRow, RunRow, TraceRow
from policies.policy import TopicMix
from policies.records import Split
from policies.selection import Reason
from tests.daemon.preferring import freeze, prefer
from tests.daemon.stages.curate.curating import World
from tests.daemon.stages.seeding import SPEC, add_trace, by_length, judge, put, rows, spec, table

DAY = 86_400.0


def drafted(store: Store, clock: FakeClock, **rule: Any) -> Draft:
    changed = spec(curation=SPEC.curation.model_copy(update=rule))
    return Freezing(store=store, clock=clock, spec=changed, directory=Path("unused")).drafted()


def test_a_question_asked_again_and_again_is_in_four_times(
    store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    """By many customers, in a form letter that differs in a number; another question has its own places."""
    world = World(store, clock, tmp_path)
    letter = "please tell me where the parcel is that I ordered from you last week under the number "
    long = " ".join(f"w{n}" for n in range(90))
    for number in range(9):
        add_trace(store, f"{letter} {number} {long}", Split.TRAIN, subject=f"s{number}")
    add_trace(store, "how do I cancel?", Split.TRAIN)
    stage = world.stage()
    stage.sample()
    judge(store, by_length)
    stage.curate()
    assert {len((row.sketch or "").split()) for row in rows(store, PreferenceRow)} == {8}
    frozen = world.freezing().freeze()
    assert (frozen.pairs, frozen.left_out) == (5, {Reason.ALIKE: 5})


def test_age_is_the_events_own_but_not_in_the_future(store: Store, clock: FakeClock) -> None:
    """An old log that is read today is old; an event that says it is of tomorrow is as old as its arrival."""
    now = clock.now()
    prefer(store, ["new"], at=now, stored_at=now)
    prefer(store, ["backlog"], at=now, stored_at=now)
    prefer(store, ["claims"], at=now, stored_at=now - 9 * DAY)
    traces = table(TraceRow)
    for name, ts in (("new", now), ("backlog", now - 9 * DAY), ("claims", now + 9 * DAY)):
        store.write(
            lambda c, name=name, ts=ts: c.execute(  # type: ignore[misc]
                update(traces).where(traces.c.event_id == name).values(ts=ts)
            )
        )
    found = drafted(store, clock, max_age_days=7.0)
    assert (len(found.ids), found.left_out) == (1, {Reason.STALE: 2})
    assert len(drafted(store, clock).ids) == 3
    clock.advance(30 * DAY)
    with pytest.raises(NoPreferencesError, match=r"^3 older than policy\.curation\.max_age_days"):
        drafted(store, clock, max_age_days=7.0)


def test_a_topic_is_what_the_traces_tag_says(store: Store, clock: FakeClock) -> None:
    """On both databases; a trace without the tag has none."""
    prefer(store, [f"p{n}" for n in range(12)])
    traces = table(TraceRow)
    for row in rows(store, TraceRow)[:8]:
        payload = {**row.payload, "tags": {"topic": "billing", "other": "x"}}
        store.write(
            lambda c, row=row, payload=payload: c.execute(  # type: ignore[misc]
                update(traces).where(traces.c.id == row.id).values(payload=payload)
            )
        )
    mix = TopicMix(tag="topic", shares={"billing": 0.5})
    assert drafted(store, clock, mix=mix).left_out == {Reason.TOPIC: 4}


def test_what_runs_learned_from_is_replayed(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what is older than all that is looked at; what a failed run had is no such thing."""
    monkeypatch.setattr(freezing, "READ", 1)
    old = prefer(store, [f"old{n}" for n in range(20)])
    lost = prefer(store, [f"lost{n}" for n in range(20)])
    for name, ids, state in (("s1", old, "done"), ("s2", lost, "failed")):
        freeze(store, name, ids)
        run = {"recipe": {}, "step": 0, "reason": "", "started_at": 1.0}
        put(store, RunRow, id=f"r-{name}", snapshot_id=name, state=state, **run)
    new = prefer(store, [f"new{n}" for n in range(30)])
    found = drafted(store, clock, max_pairs=10, replay_share=0.2)
    assert len(set(found.ids) & set(old)) == 2
    assert set(found.ids) - set(old) == set(new[-8:])
    assert not set(found.ids) & set(lost)


def test_of_many_snapshots_some_are_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first, the last, and evenly between them: a look does not grow with the daemon's age."""
    monkeypatch.setattr(snapshots, "MOST", 3)
    for number in range(9):
        freeze(store, f"s{number}", [number])
        run = {"recipe": {}, "state": "done", "step": 0, "reason": "", "started_at": float(number)}
        put(store, RunRow, id=f"r{number}", snapshot_id=f"s{number}", **run)
    assert store.read(snapshots.learned) == {0, 4, 8}


def test_what_was_left_out_the_last_time_is_told(store: Store, clock: FakeClock, tmp_path: Path) -> None:
    """The same pairs are the same snapshot, while more and more of one contributor stay outside."""
    stage = Freezing(store=store, clock=clock, spec=SPEC, directory=tmp_path)
    prefer(store, [f"p{n}" for n in range(5)])
    first = stage.freeze()
    assert store.read(snapshots.newest) == snapshots.SnapshotTally(first.id, 5, {}, clock.now())
    stage.write(Draft(stage.drafted().ids, {Reason.CONTRIBUTOR: 2}))
    found = store.read(snapshots.newest)
    assert found is not None
    assert (found.id, found.left_out) == (first.id, {"contributor": 2})
