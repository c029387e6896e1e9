"""Snapshots of single answers: what the store has of them, what is left out, and what a run is given."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from daemon.clock import FakeClock
from daemon.stages.train.freeze import Freezing, NoPreferencesError
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, RunRow, SnapshotRow, TraceRow
from policies import answers
from policies.policy import CurationRule
from policies.recipes import KtoRecipe, Recipe, SftRecipe
from policies.records import Split
from policies.selection import Reason, told
from tests.daemon.preferring import prefer
from tests.daemon.stages.curate.curating import World
from tests.daemon.stages.seeding import (
    add_candidate,
    add_trace,
    add_verdict,
    by_length,
    judge,
    put,
    rows,
    spec,
    table,
)


@pytest.fixture
def world(store: Store, clock: FakeClock, tmp_path: Path) -> World:
    return World(store, clock, tmp_path / "snapshots")


def stage_of(world: World, recipe: Recipe, **curation: Any) -> Freezing:
    policy = spec(recipe=recipe, curation=CurationRule(**curation))
    return Freezing(store=world.store, clock=world.clock, spec=policy, directory=world.directory)


def clicked(world: World, name: str, score: float, split: Split = Split.TRAIN, **columns: Any) -> int:
    """A logged answer with a thumb; its number among candidates."""
    trace_id = add_trace(world.store, name, split, **columns)
    (row,) = (each for each in rows(world.store, TraceRow) if each.id == trace_id)
    payload = row.payload | {"feedback": [{"name": "thumb", "score": score}]}
    change = update(table(TraceRow)).where(table(TraceRow).c.id == trace_id).values(payload=payload)
    world.store.write(lambda c: c.execute(change))
    (number,) = (each.id for each in rows(world.store, CandidateRow) if each.trace_id == trace_id)
    return int(number)


def counted(world: World, recipe: Recipe, at: float | None, most: int = 100) -> int:
    kind = stage_of(world, recipe).kind
    return world.store.read(lambda c: kind.since(c, at, most=most))


def frozen(stage: Freezing) -> tuple[answers.Answer, ...]:
    made = stage.freeze()
    return answers.read(made.path, made.id).answers


def test_thumbs_of_the_train_split_are_frozen(world: World) -> None:
    """Good and bad, each with its prompt; what was not clicked or is in another split is no thumb."""
    up, down = clicked(world, "one", 1), clicked(world, "two", 0)
    clicked(world, "gate", 1, Split.GATE)
    add_trace(world.store, "silent", Split.TRAIN)
    stage = stage_of(world, KtoRecipe())
    found = {each.candidate: each for each in frozen(stage)}
    assert {number: each.good for number, each in found.items()} == {up: True, down: False}
    assert found[up].prompt[0].content == "question one"
    assert found[up].answer[0].content == "logged words"
    (row,) = rows(world.store, SnapshotRow)
    assert (row.pairs, row.preference_ids, sorted(row.candidate_ids)) == (2, [], [up, down])
    assert stage.freeze().id == row.id, "the same answers are the same snapshot"
    assert (len(stage.drafted().ids), stage.kind.unit) == (2, "answers")


def test_scores_are_frozen_with_their_own_weight(world: World) -> None:
    """The large judge's where there is one; the gate's never; a thumb goes before."""
    up = clicked(world, "one", 1)
    trace_id = rows(world.store, TraceRow)[0].id
    scored = add_candidate(world.store, trace_id, "sampled", sample=1)
    other = add_candidate(world.store, trace_id, "judged by the gate", sample=2)
    add_verdict(world.store, trace_id, up, reward=1.0)
    add_verdict(world.store, trace_id, scored, role="large", reward=2.0)
    add_verdict(world.store, trace_id, scored, reward=9.0)
    add_verdict(world.store, trace_id, other, role="gate", reward=9.0)
    stage = stage_of(world, KtoRecipe(source="both", score_weight=0.25), max_source_share=1)
    assert {(each.candidate, each.good, each.weight) for each in frozen(stage)} == {
        (up, True, 1.0),
        (scored, False, 0.25),
    }
    (row,) = rows(world.store, SnapshotRow)
    assert row.left_out == {"revised": 1}
    assert told({Reason.REVISED: 1}) == "1 that another revision or a thumb replaces"


def test_one_contributor_does_not_click_for_all(world: World) -> None:
    """Strangers write thumbs: the caps of preferences hold for them, and what they keep out is counted."""
    for number in range(4):
        clicked(world, f"flood-{number}", 0, subject="flood")
    clicked(world, "other", 1)
    made = stage_of(world, KtoRecipe(), max_source_pairs=2).freeze()
    assert (made.pairs, made.left_out) == (3, {Reason.CONTRIBUTOR: 2})
    (row,) = rows(world.store, SnapshotRow)
    assert row.left_out == {"contributor": 2}


def test_near_copies_and_old_answers_are_left_out(world: World) -> None:
    """As of pairs: of answers that read nearly alike so many are in, and none older than the rule says."""
    form = " ".join(f"word{number}" for number in range(200))
    for number in range(4):
        clicked(world, f"form-{number}", 0, text=f"{form} {number}", question="where is it?")
    clicked(world, "own", 1)
    made = stage_of(world, KtoRecipe(), max_alike=2, max_source_share=1).freeze()
    assert (made.pairs, made.left_out) == (3, {Reason.ALIKE: 2})
    world.clock.advance(30 * 86_400.0)
    with pytest.raises(NoPreferencesError, match=r"5 older than policy\.curation\.max_age_days"):
        stage_of(world, KtoRecipe(), max_age_days=1).freeze()


@pytest.mark.parametrize(
    ("source", "recipe"),
    [
        ("thumb", KtoRecipe()),
        ("score", KtoRecipe(source="scores")),
        ("corrected", SftRecipe(targets="corrections")),
        ("best", SftRecipe(min_reward=0)),
    ],
)
def test_answers_that_runs_learned_from_are_replayed(world: World, source: str, recipe: Recipe) -> None:
    """Out of reach of the newest that are looked at, or too old: a full snapshot has some of them, and those
    of a run by another method none.
    """
    world.clock.advance(100 * 86_400.0)
    before = frozenset(row.id for row in rows(world.store, CandidateRow))
    _teach(world, source, [f"old {n}" for n in range(3)])
    old = [row.id for row in rows(world.store, CandidateRow) if row.id not in before]
    put(world.store, SnapshotRow, id="s", path="s", pairs=3, preference_ids=[], candidate_ids=old, note="",
        created_at=1.0)  # fmt: skip
    change = update(table(TraceRow)).values(ts=1.0, stored_at=1.0)
    world.store.write(lambda c: c.execute(change))
    _teach(world, source, [f"new {n}" for n in range(8)])
    now = {"ts": world.clock.now(), "stored_at": world.clock.now()}
    change = update(table(TraceRow)).where(table(TraceRow).c.ts == 0).values(now)
    world.store.write(lambda c: c.execute(change))
    fair: dict[str, Any] = {"max_source_fair": 1000, "max_age_days": 90, "max_alike": 100}
    stage = stage_of(world, recipe, max_pairs=4, replay_share=0.25, **fair)
    run = {"state": "done", "step": 1, "reason": "", "started_at": 1.0, "snapshot_id": "s"}
    put(world.store, RunRow, id="other", recipe={"method": "dpo"}, **run)
    assert set(stage.drafted(newest=8).ids).isdisjoint(old)
    put(world.store, RunRow, id="own", recipe={"method": recipe.method}, **run)
    for newest in (8, None):
        draft = stage.drafted(newest=newest)
        assert len(set(draft.ids).intersection(old)) == 1
        assert len(draft.ids) == len(draft.answers) == 4
    none = stage_of(world, recipe, max_pairs=4, replay_share=0, **fair)
    assert set(none.drafted().ids).isdisjoint(old)


def _teach(world: World, source: str, names: list[str]) -> None:
    """An answer to learn from for each name."""
    if source == "best":
        made = prefer(world.store, names)
        assert len(made) == len(names)
        return
    for name in names:
        if source == "thumb":
            clicked(world, name, 1)
            continue
        trace = add_trace(world.store, name, Split.TRAIN)
        origin = "corrected" if source == "corrected" else "sampled"
        answered = add_candidate(world.store, trace, f"answer {name}", origin=origin)
        if source == "score":
            add_verdict(world.store, trace, answered, reward=9.0)


def test_the_best_of_several_are_targets(world: World) -> None:
    """Those that preferences chose, with their reward; a person's text takes a prompt's place."""
    for name in ("one", "two"):
        add_trace(world.store, name, Split.TRAIN)
    world.stage().sample()
    judge(world.store, by_length)
    world.stage().curate()
    best = frozen(stage_of(world, SftRecipe(min_reward=0)))
    assert len(best) == 2
    assert all(each.kind == "best" and each.good and each.reward for each in best)
    assert {len(each.answer[0].content.split()) for each in best} == {7}
    low = stage_of(world, SftRecipe(min_reward=10))
    with pytest.raises(
        NoPreferencesError, match=r"^2 below policy\.recipe\.min_reward: nothing to train on yet"
    ):
        low.freeze()
    trace_id = rows(world.store, TraceRow)[0].id
    mine = add_candidate(world.store, trace_id, "what I would say", origin="corrected")
    both = frozen(stage_of(world, SftRecipe(targets="both", min_reward=0), max_source_share=1))
    assert {each.kind for each in both} == {"best", "correction"}
    (only,) = frozen(stage_of(world, SftRecipe(targets="corrections")))
    assert (only.candidate, only.answer[0].content) == (mine, "what I would say")


def test_what_is_new_is_counted_by_the_recipe(world: World) -> None:
    """The schedule waits for thumbs where thumbs teach, and for preferences where those do."""
    clicked(world, "old", 1, stored_at=5.0)
    clicked(world, "new", 1, stored_at=50.0)
    trace_id = rows(world.store, TraceRow)[0].id
    answered = add_candidate(world.store, trace_id, "sampled", sample=1)
    add_verdict(world.store, trace_id, answered, reward=9.0, created_at=50.0)
    add_candidate(world.store, trace_id, "corrected", origin="corrected")
    recipes: dict[str, Recipe] = {
        "thumbs": KtoRecipe(),
        "scores": KtoRecipe(source="scores"),
        "both": KtoRecipe(source="both"),
        "best": SftRecipe(),
        "corrections": SftRecipe(targets="corrections"),
    }
    found = {name: [counted(world, recipe, at) for at in (None, 10.0)] for name, recipe in recipes.items()}
    assert found == {
        "thumbs": [2, 1], "scores": [1, 1], "both": [3, 2], "best": [0, 0], "corrections": [1, 0],
    }  # fmt: skip


def test_without_answers_nothing_is_frozen(world: World, tmp_path: Path) -> None:
    """It says so in one line, and a draft does too."""
    stage = stage_of(world, KtoRecipe())
    with pytest.raises(NoPreferencesError, match="no answer is stored: nothing to train on yet"):
        stage.freeze()
    clicked(world, "one", 1)
    name, path = stage.write_file(stage.drafted(), tmp_path / "draft")
    assert answers.read(path, name).answers[0].good
    assert rows(world.store, SnapshotRow) == []
