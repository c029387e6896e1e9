"""The curate stage keeps each pair once, and freezes what the caps allow."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import update

from daemon.clock import FakeClock
from daemon.stages.train.freeze import NoPreferencesError
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, PreferenceRow, SnapshotRow, TraceRow
from policies import snapshot
from policies.records import Split
from policies.selection import Reason
from tests.daemon.stages.curate.curating import World
from tests.daemon.stages.seeding import (
    SPEC,
    add_candidate,
    add_trace,
    add_verdict,
    by_length,
    count,
    judge,
    rows,
    spec,
    table,
)


@pytest.fixture
def world(store: Store, clock: FakeClock, tmp_path: Path) -> World:
    return World(store, clock, tmp_path / "snapshots")


def test_a_preference_waits_for_every_score(world: World) -> None:
    """With judgements open there is none; with all done, best against worst."""
    add_trace(world.store, "one", Split.TRAIN)
    stage = world.stage()
    stage.step()
    judge(world.store, by_length, limit=3)
    assert stage.curate() == 0
    judge(world.store, by_length)
    assert stage.curate() == 1
    (made,) = rows(world.store, PreferenceRow)
    texts = {row.id: row.text for row in rows(world.store, CandidateRow)}
    assert len(texts[made.chosen_id].split()) == 7
    assert len(texts[made.rejected_id].split()) == 1
    assert made.margin == 6.0
    assert made.contributor == "subject:subject-one"
    assert len(made.verdict_ids) == 2


def test_curating_again_adds_nothing(world: World) -> None:
    """Neither on a second step nor after the mark was lost between insert and commit."""
    add_trace(world.store, "one", Split.TRAIN)
    stage = world.stage()
    stage.sample()
    judge(world.store, by_length)
    assert stage.curate() == 1
    assert stage.curate() == 0
    world.store.write(lambda c: c.execute(update(table(TraceRow)).values(curated_at=None)))
    assert stage.curate() == 1
    assert count(world.store, PreferenceRow) == 1


def test_audit_prompts_give_no_preference(world: World) -> None:
    """They are judged like train prompts and teach nothing."""
    add_trace(world.store, "one", Split.AUDIT)
    stage = world.stage()
    stage.sample()
    judge(world.store, by_length)
    assert stage.curate() == 0
    assert count(world.store, PreferenceRow) == 0


def test_abstentions_make_no_pair(world: World) -> None:
    """A judge that says nothing of any answer leaves the prompt without a preference, for good."""
    add_trace(world.store, "one", Split.TRAIN)
    stage = world.stage()
    stage.sample()
    judge(world.store, lambda _asked: {"abstention": "unparseable"})
    assert stage.curate() == 1
    assert stage.curate() == 0
    assert count(world.store, PreferenceRow) == 0


def test_failed_judgements_hold_up_nothing(world: World) -> None:
    """A judgement that failed for good is not waited for."""
    add_trace(world.store, "one", Split.TRAIN)
    stage = world.stage()
    stage.sample()
    judge(world.store, lambda asked: None if asked.texts[0].startswith("word2") else by_length(asked))
    stage.curate()
    (made,) = rows(world.store, PreferenceRow)
    assert made.margin == 3.0


def prepared(world: World, names: Sequence[str], subject: str | None = None) -> None:
    for name in names:
        add_trace(world.store, name, Split.TRAIN, subject=subject or name)
    stage = world.stage()
    stage.sample()
    judge(world.store, by_length)
    stage.curate()


def test_a_snapshot_holds_the_pairs_and_is_named_by_its_content(world: World) -> None:
    """Frozen twice it is one file and one row, which reads back whole."""
    prepared(world, ["one", "two", "three"])
    first, again = world.freezing().freeze(), world.freezing().freeze()
    assert first == again
    (row,) = rows(world.store, SnapshotRow)
    assert (row.id, row.pairs, row.path) == (first.id, 3, str(first.path))
    read = snapshot.read(first.path, first.id)
    assert [pair.preference for pair in read.pairs] == row.preference_ids
    assert {pair.prompt[0].content for pair in read.pairs} == {
        f"question {n}" for n in ("one", "two", "three")
    }
    assert all(len(pair.chosen[0].content) > len(pair.rejected[0].content) for pair in read.pairs)
    assert all(0.5 < pair.soft < 1 for pair in read.pairs)
    assert {(pair.chosen_reward, pair.rejected_reward) for pair in read.pairs} == {(7.0, 1.0)}
    assert [file.name for file in world.directory.iterdir()] == [first.path.name]


def test_one_contributor_is_capped_in_a_snapshot(world: World) -> None:
    """Of five prompts of one subject the newest four are kept: twice its fair share of what remains."""
    prepared(world, ["a", "b", "c", "d", "e"], subject="flood")
    prepared(world, ["x", "y"])
    frozen = world.freezing().freeze()
    assert (frozen.pairs, frozen.left_out) == (6, {Reason.CONTRIBUTOR: 1})
    kept = {pair.prompt[0].content for pair in snapshot.read(frozen.path).pairs}
    assert kept == {f"question {name}" for name in "bcdexy"}
    (row,) = rows(world.store, SnapshotRow)
    assert row.left_out == {"contributor": 1}


def test_a_limit_keeps_the_newest(world: World) -> None:
    """The rest is counted as left out."""
    prepared(world, ["one", "two", "three"])
    frozen = world.freezing().freeze(2)
    assert (frozen.pairs, frozen.left_out) == (2, {Reason.LIMIT: 1})


def test_a_snapshot_has_a_bound_of_its_own(world: World) -> None:
    """What a scheduled run takes does not grow with the age of the daemon."""
    prepared(world, ["one", "two", "three"])
    freezing = world.freezing(spec(curation=SPEC.curation.model_copy(update={"max_pairs": 2})))
    assert freezing.freeze().pairs == freezing.freeze(3).pairs == 2


def test_a_pair_whose_prompt_left_the_train_split_is_never_frozen(world: World) -> None:
    """Even a row that should not exist does not reach a snapshot."""
    prepared(world, ["one", "two"])
    moved = update(table(TraceRow)).where(table(TraceRow).c.event_id == "one").values(split="gate")
    world.store.write(lambda c: c.execute(moved))
    kept = snapshot.read(world.freezing().freeze().path).pairs
    assert [pair.prompt[0].content for pair in kept] == ["question two"]


def test_without_preferences_nothing_is_frozen(world: World) -> None:
    """It says so in one line."""
    with pytest.raises(NoPreferencesError, match="nothing to train on"):
        world.freezing().freeze()


def test_older_candidates_take_part(world: World) -> None:
    """An answer of another origin that was scored by the same judge can be chosen."""
    trace_id = add_trace(world.store, "one", Split.TRAIN)
    stage = world.stage()
    stage.sample()
    revised = add_candidate(world.store, trace_id, "a revised answer", origin="revised")
    add_verdict(world.store, trace_id, revised, reward=10.0)
    judge(world.store, by_length)
    stage.curate()
    assert rows(world.store, PreferenceRow)[0].chosen_id == revised
