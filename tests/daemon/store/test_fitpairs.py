"""People's labels teach a reward model, but those of the audit never do."""

from pathlib import Path

import pytest

from daemon.clock import FakeClock
from daemon.stages.train.freeze import Freezing, NoPreferencesError
from daemon.store import alignment, auditpairs, fitpairs
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, LabelRow, SnapshotRow, TraceRow
from policies import snapshot
from policies.policy import CurationRule
from policies.recipes import DpoRecipe, Recipe, RewardRecipe
from policies.records import Split
from policies.selection import Reason
from policies.snapshot import Pair
from policies.votes import RIGHT
from tests.daemon.preferring import prefer
from tests.daemon.stages.seeding import (
    add_candidate,
    add_label,
    add_labelled,
    add_trace,
    rows,
    spec,
)
from tests.judges import BENCH, SMALL

EVERY = CurationRule(max_source_share=1)


def stage_of(store: Store, clock: FakeClock, directory: Path, recipe: Recipe) -> Freezing:
    policy = spec(recipe=recipe, curation=EVERY)
    return Freezing(store=store, clock=clock, spec=policy, directory=directory)


def frozen(stage: Freezing) -> tuple[Pair, ...]:
    made = stage.freeze()
    found = snapshot.read(made.path, made.id).pairs
    assert made.pairs == len(found)
    return found


def asked(pair: Pair) -> str:
    return pair.prompt[0].content.removeprefix("question ")


def test_a_fit_never_sees_an_audit_label(store: Store, clock: FakeClock, tmp_path: Path) -> None:
    """Of labels in every split, those of train and calibrate are in the file, with people's own weight."""
    for split in Split:
        add_labelled(store, {f"{split.value} {number}": True for number in range(3)}, split=split)
    found = frozen(stage_of(store, clock, tmp_path, RewardRecipe()))
    assert sorted({asked(pair).split()[0] for pair in found}) == ["calibrate", "train"]
    assert len(found) == 6
    assert {(pair.source, pair.weight, round(pair.soft, 9)) for pair in found} == {("people", 2.0, RIGHT)}
    assert {(pair.chosen[0].content, pair.rejected[0].content) for pair in found} == {
        ("good words here", "bad")
    }
    (row,) = rows(store, SnapshotRow)
    splits = {trace.id: trace.split for trace in rows(store, TraceRow)}
    learned = {
        label.id for label in rows(store, LabelRow) if splits[label.trace_id] in {"train", "calibrate"}
    }
    assert (set(row.label_ids), row.pairs) == (learned, 6)


def test_labels_change_no_other_snapshot(store: Store, clock: FakeClock, tmp_path: Path) -> None:
    """DPO learns from no label; without one both recipes have the same snapshot, byte for byte."""
    prefer(store, ["one", "two"])
    dpo, reward = (stage_of(store, clock, tmp_path, each) for each in (DpoRecipe(), RewardRecipe()))
    assert dpo.freeze().id == reward.freeze().id
    add_labelled(store, {"calibrated": False}, split=Split.CALIBRATE)
    assert len(frozen(dpo)) == 2
    pairs = frozen(reward)
    assert [(pair.source, asked(pair)) for pair in pairs[2:]] == [("people", "calibrated")]
    assert pairs[2].chosen[0].content == "bad", "people's word, not the judge's"


def test_people_take_the_judges_place_on_the_same_answers(
    store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    """Their label counts in the place of the preference, whichever it names; a tie replaces nothing."""
    prefer(store, ["one", "two"])
    for name, choice in (("one", "b"), ("two", "tie")):
        (trace,) = (each.id for each in rows(store, TraceRow) if each.event_id == name)
        low, high = (
            each.id
            for each in rows(store, CandidateRow)
            if each.trace_id == trace and each.origin == "sampled"
        )
        add_label(store, trace, low, high, choice)
    stage = stage_of(store, clock, tmp_path, RewardRecipe(label_weight=3))
    judged, labelled = frozen(stage)
    assert (asked(judged), judged.source, judged.weight) == ("two", "judges", 1.0)
    assert (asked(labelled), labelled.source, labelled.weight) == ("one", "people", 3.0)
    assert (labelled.chosen[0].content, labelled.rejected[0].content) == ("bad one", "good one")
    assert stage.drafted().left_out == {Reason.LABELLED: 1, Reason.UNDECIDED: 1}


def test_an_answer_that_was_cut_off_is_not_taught(store: Store, clock: FakeClock, tmp_path: Path) -> None:
    """Nor one with a placeholder for what is no text; and with a weight of 0 no label is looked at."""
    for name, columns in (("cut", {"truncated": True}), ("image", {"unshown": True})):
        trace = add_trace(store, name, Split.CALIBRATE)
        low = add_candidate(store, trace, "better", sample=0, **columns)
        add_label(store, trace, low, add_candidate(store, trace, "worse", sample=1), "a")
    stage = stage_of(store, clock, tmp_path, RewardRecipe())
    with pytest.raises(
        NoPreferencesError,
        match=r"1 cut off by a limit of length, 1 that were seen only in part: nothing to train on yet",
    ):
        stage.freeze()
    weightless = stage_of(store, clock, tmp_path, RewardRecipe(label_weight=0))
    with pytest.raises(NoPreferencesError, match="no preference and no label"):
        weightless.freeze()


def test_a_new_label_is_something_new(store: Store, clock: FakeClock, tmp_path: Path) -> None:
    """It is counted, and a changed one is; an audit label is none."""
    kind = stage_of(store, clock, tmp_path, RewardRecipe()).kind

    def new() -> int:
        return store.read(lambda c: kind.since(c, 5.0, most=100))

    prefer(store, ["one"], at=9.0)
    before = store.read(kind.newest)
    add_labelled(store, {"old": True}, split=Split.CALIBRATE, at=1.0)
    add_labelled(store, {"audited": True}, split=Split.AUDIT, at=9.0)
    assert new() == 1
    add_labelled(store, {"new": True}, split=Split.CALIBRATE, at=9.0)
    assert (new(), store.read(kind.newest) != before) == (2, True)


def test_what_is_measured_is_measured_on_audit_labels_alone(store: Store) -> None:
    """Alignment, and what a reward model's release rests on, whatever people said of other prompts."""
    add_labelled(store, {"right": True, "also right": True}, split=Split.AUDIT)
    for split in (Split.TRAIN, Split.CALIBRATE, Split.GATE):
        add_labelled(store, {f"{split.value} wrong": False}, split=split)
    found = store.read(lambda c: alignment.reviewed(c, BENCH, min_gap=2.0))
    assert {judge: len(rows) for judge, rows in found.judged.items()} == dict.fromkeys(BENCH, 2)
    held = store.read(lambda c: auditpairs.labelled(c, SMALL, min_gap=2.0))
    assert sorted(each.cluster for each in held) == ["also right", "right"]


@pytest.mark.parametrize("choice", ["a", "b"])
def test_a_label_on_a_sounding_teaches_nothing(store: Store, choice: str) -> None:
    """Whichever of the two a policy under training gave; it is told why the pair is left out."""
    trace = add_trace(store, "one", Split.CALIBRATE)
    sounded = add_candidate(store, trace, "good words here", batch="run", origin="sounded")
    other = add_candidate(store, trace, "bad", batch="b", sample=1)
    add_label(store, trace, sounded, other, choice)
    assert store.read(fitpairs.labelled) == fitpairs.Fitted((), {Reason.SOUNDED: 1})
