"""What is counted of the store is exact on a small one, and costs no more on a large one."""

from typing import Any

import pytest
from sqlalchemy import Connection, event

from daemon.store import readiness
from daemon.store.alignment import reviewed
from daemon.store.readiness import stock
from daemon.store.store import Store
from daemon.store.tables import JudgementRow, PreferenceRow, RunRow, SnapshotRow
from policies.recipes import DpoRecipe, KtoRecipe, PpoRecipe, RewardRecipe
from policies.records import Feedback, Split
from policies.stock import Stock, Traffic
from tests.daemon.preferring import prefer
from tests.daemon.stages.seeding import (
    SPEC,
    Within,
    add_candidate,
    add_label,
    add_labelled,
    add_traces,
    add_verdicts,
    at_once,
    put,
    put_many,
)
from tests.judges import BENCH

GROWING = {"trace", "candidate", "judgement", "verdict"}
"""Tables with a row or more for each event. Labels and preferences are few."""


def look(store: Store) -> Stock:
    return store.read(counted)


def counted(connection: Connection) -> Stock:
    people = reviewed(connection, BENCH, min_gap=SPEC.curation.min_margin)
    return stock(connection, SPEC, people, min_preferences=64, now=0.0)


def test_an_empty_store_holds_nothing(store: Store) -> None:
    """Every figure is 0, and no judge has an alignment."""
    found = look(store)
    assert {judge: each.ratio for judge, each in found.alignment.items()} == dict.fromkeys(BENCH)
    assert (found.traffic, found.prompts) == (
        Traffic(),
        dict.fromkeys((Split.TRAIN, Split.AUDIT, Split.GATE), 0),
    )
    assert (found.stored, found.kept, found.possible, found.rulings, found.labelled) == (0, 0, (), 0, 0)


def test_prompts_are_counted_once_and_repeats_by_their_split(store: Store) -> None:
    """The first event of a prompt is new, the others repeat it; `subject` says who is behind them."""

    def fill(to: Within) -> None:
        add_traces(to, ["t1", "t2", "t3"], Split.TRAIN)
        add_traces(to, ["g1", "g2"], Split.GATE)
        add_traces(to, ["t1 again", "t1 anew"], Split.TRAIN, cluster="t1", subject="subject-t1")
        add_traces(to, ["g1 again"], Split.GATE, cluster="g1", subject=None)
        add_traces(to, ["c1"], Split.CALIBRATE)

    at_once(store, fill)
    found = look(store)
    assert found.prompts == {Split.TRAIN: 3, Split.AUDIT: 0, Split.GATE: 2}
    assert found.traffic == Traffic(
        events=9, fresh=6, repeats={Split.TRAIN: 2, Split.GATE: 1}, contributors=7, once=6
    )


def test_what_older_events_asked_is_not_new(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the window too, of which only the newest events count."""
    monkeypatch.setattr(readiness, "WINDOW", 4)

    def fill(to: Within) -> None:
        add_traces(to, ["old", "older"], Split.TRAIN)
        add_traces(to, ["new", "newer"], Split.GATE)
        add_traces(to, ["old again"], Split.TRAIN, cluster="old")
        add_traces(to, ["new again"], Split.GATE, cluster="new")

    at_once(sqlite_store, fill)
    found = look(sqlite_store).traffic
    assert (found.events, found.fresh, found.repeats) == (4, 2, {Split.TRAIN: 1, Split.GATE: 1})


def test_train_events_are_in_hand_or_gave_a_preference_or_none(store: Store) -> None:
    """Preferences count under the caps; new since the last run."""

    def fill(to: Within) -> None:
        ids = add_traces(to, ["a", "b", "c"], Split.TRAIN, sampled_at=2.0, curated_at=3.0, subject="ann")
        add_traces(to, ["d"], Split.TRAIN)
        for at, trace_id in enumerate(ids[:2]):
            put(
                to,
                PreferenceRow,
                trace_id=trace_id,
                cluster="x",
                contributor="subject:ann",
                chosen_id=trace_id,
                rejected_id=trace_id + 1,
                margin=5.0,
                difference=1.0,
                weight=1.0,
                soft=0.9,
                verdict_ids=[],
                created_at=10.0 * at,
            )
        put(to, SnapshotRow, id="s", path="s", pairs=1, preference_ids=[], note="", created_at=5.0)
        run = {"recipe": {}, "state": "done", "step": 1, "reason": "", "started_at": 5.0}
        put(to, RunRow, id="r", snapshot_id="s", **run)

    at_once(store, fill)
    found = look(store)
    assert (found.curated, found.gave, found.uncurated) == (3, 2, 1)
    assert (found.stored, found.kept, found.fresh) == (2, 2, 1)


def test_each_kind_has_the_rate_of_what_it_learns_from(store: Store) -> None:
    """Of ten train events one has a thumb, two gave a preference, and nine brought a prompt of their own."""

    def fill(to: Within) -> None:
        prefer(to, ["p0", "p1"])
        add_traces(to, [f"t{n}" for n in range(6)], Split.TRAIN)
        add_traces(to, ["again"], Split.TRAIN, cluster="t0")
        thumb = Feedback(name="thumb", score=1.0)
        add_traces(to, ["clicked"], Split.TRAIN, feedback=[thumb])
        to.write(lambda c: c.exec_driver_sql("UPDATE trace SET sampled_at = 1, curated_at = 2 WHERE id < 5"))

    at_once(store, fill)
    recipes = (KtoRecipe(), DpoRecipe(), RewardRecipe(), PpoRecipe())
    policy = SPEC.model_copy(update={"recipe": recipes[0], "also": recipes[1:]})

    def work(connection: Connection) -> Stock:
        people = reviewed(connection, BENCH, min_gap=2.0)
        return stock(connection, policy, people, min_preferences=64, now=0.0)

    found = store.read(work)
    supplies = (found, *found.others)
    assert {each.method: (each.called, each.curated, each.gave, each.kept) for each in supplies} == {
        "kto": ("answers", 10, 1, 1),
        "dpo": ("preferences", 4, 2, 2),
        "reward": ("preferences and labels", 4, 2, 2),
        "ppo": ("prompts", 10, 9, 9),
    }
    assert [each.rivals for each in supplies] == [False, True, True, False]


def test_pairs_of_audit_events_are_possible_unlabelled_and_settled(store: Store) -> None:
    """Four of six pairs go to people, who labelled two, one of them a tie; one event has no pairs."""

    def fill(to: Within) -> None:
        one, _none = add_traces(to, ["one", "none"], Split.AUDIT, sampled_at=2.0)
        add_traces(to, ["waiting"], Split.AUDIT)
        answers = [add_candidate(to, one, f"answer {n}", sample=n, batch="b") for n in range(4)]
        pairs = [
            (answers[0], answers[1]),
            (answers[0], answers[2]),
            (answers[1], answers[2]),
            (answers[2], answers[3]),
        ]
        for role in ("large", "gate"):
            rows = [{"candidate_id": a, "other_id": b, "trace_id": one} for a, b in pairs]
            put_many(to, JudgementRow, [_asked(role, row) for row in rows])
        add_label(to, one, *pairs[0], "a")
        add_label(to, one, *pairs[1], "tie")
        add_label(to, one, *pairs[1], "tie", reviewer="bob")

    at_once(store, fill)
    found = look(store)
    assert sorted(found.possible) == [0, 6]
    assert (found.unsampled, found.unlabelled, found.labelled, found.settled) == (1, 2, 2, 1)


def _asked(role: str, pair: dict[str, int]) -> dict[str, Any]:
    key = f"{role}:{pair['candidate_id']}:{pair['other_id']}"
    fixed = {"kind": "pair", "purpose": "audit", "probability": 4 / 6, "state": "open"}
    whose = {"judge": role, "role": role}
    return {**pair, **fixed, "key": key, **whose, "attempts": 0, "not_before": 0.0, "created_at": 0.0}


def test_alignment_and_rulings_are_the_judges_of_now(store: Store) -> None:
    """The gate's judge decided all but the flip; of another version nothing counts for alignment."""

    def fill(to: Within) -> None:
        add_labelled(to, {f"p{number}": True for number in range(5)})
        add_labelled(to, {"other": True}, version="v0")
        (trace,) = add_traces(to, ["flip"], Split.AUDIT)
        flip = {"trace_id": trace, "candidate_id": trace, "other_id": trace, "role": "gate", "kind": "pair"}
        add_verdicts(to, [{**flip, "purpose": "audit", "flipped": True}])

    at_once(store, fill)
    found = look(store)
    assert (found.rulings, found.decided, found.labelled) == (7, 6, 6)
    assert {judge: each.labels for judge, each in found.alignment.items()} == dict.fromkeys(BENCH, 5)


def test_no_table_that_grows_is_read_through(sqlite_store: Store) -> None:
    """Each question is answered by an index, or stops at a bound: this is SQLite's own plan for each."""

    def fill(to: Within) -> None:
        add_labelled(to, {f"p{number}": True for number in range(20)})
        add_traces(to, [f"t{number}" for number in range(200)], Split.TRAIN, sampled_at=2.0, curated_at=3.0)

    at_once(sqlite_store, fill)
    plans = sqlite_store.read(_plans)
    assert len(plans) > 10
    assert not [each for each in plans if _reads_through(*each)]


def _plans(connection: Connection) -> list[tuple[str, list[str]]]:
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        asked.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    counted(connection)
    event.remove(connection, "before_cursor_execute", note)
    found = []
    for statement, parameters in asked:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        found.append((statement, [row[3] for row in plan]))
    return found


def _reads_through(statement: str, plan: list[str]) -> bool:
    """A scan of a table of the traffic, or a sort of which only the first rows are wanted; but the newest
    events are the end of their table.
    """
    limited = "LIMIT" in statement and "ORDER BY" in statement
    scans = [line for line in plan if line.startswith("SCAN") and line.split()[1] in GROWING]
    if scans:
        return not (limited and "ORDER BY trace.id DESC" in statement and "WHERE" not in statement)
    return limited and any("FOR ORDER BY" in line for line in plan)
