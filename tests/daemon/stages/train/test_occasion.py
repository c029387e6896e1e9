"""Why training waits is read from the store, and what is frozen is what was found to be enough."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from daemon.cli.operate import _status_text
from daemon.clock import FakeClock
from daemon.errors import RefusedError
from daemon.stages.curate.freeze import FrozenSnapshot
from daemon.stages.train.course import Course
from daemon.stages.train.schedule import Due, Waits
from daemon.store.tables import EvaluationRow, RewardModelRow, RolloutRow, RunRow, SnapshotRow, TraceRow
from daemon.wiring import by_hand
from daemon.wiring.parts import Wiring
from policies.recipes import DpoRecipe, PpoRecipe, RewardRecipe
from policies.records import Feedback, Scope, Split
from policies.selection import Reason
from tests.daemon.configuration import TEXT, settings
from tests.daemon.preferring import freeze, prefer
from tests.daemon.stages.seeding import add_adapter, add_traces, count, put, rows, table

COOLING = TEXT.replace("...\n", "training: {cooldown_s: 600, min_new_preferences: 70}\n...\n")
ASKED = DpoRecipe().model_dump(mode="json")
NAMES = [f"p{number}" for number in range(70)]


@pytest.fixture
def parts(tmp_path: Path, clock: FakeClock) -> Iterator[Wiring]:
    parts = Wiring(settings(tmp_path, COOLING), clock)
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    yield parts
    parts.close()


def a_run(parts: Wiring, name: str, snapshot: str, **columns: Any) -> None:
    values = {"state": "done", "step": 1, "reason": "", "recipe": {}, "started_at": 1.0, **columns}
    put(parts.store, RunRow, id=name, snapshot_id=snapshot, **values)


def rejected(parts: Wiring, adapter: str, *, at: float = 2.0) -> None:
    add_adapter(parts.store, adapter)
    verdict = {"state": "decided", "decision": "reject", "reasons": [], "evidence": {}, "epoch": 0}
    put(parts.store, EvaluationRow, adapter=adapter, created_at=at, decided_at=at, **verdict)


def test_a_run_is_due_when_enough_is_there(parts: Wiring) -> None:
    """Before, the status says what is missing, for scripts and for people."""
    prefer(parts.store, NAMES[:69])
    assert parts.occasion.due() == Due(
        yes=False, reason="69 new preferences of 70", waits=Waits.NEW_PREFERENCES
    )
    state = parts.status()
    assert state["training"] == {
        "due": False,
        "waits_for": "new_preferences",
        "reason": "69 new preferences of 70",
    }
    assert json.loads(json.dumps(state))["snapshot"] is None
    assert "training     waits: 69 new preferences of 70" in _status_text(state)
    prefer(parts.store, NAMES[69:])
    assert parts.occasion.due().yes
    assert "training     is due: 70 new preferences" in _status_text(parts.status())
    assert parts.occasion.due(leads=False).waits is Waits.LEAD
    parts.latch.halt(Scope.TRAINING, reason="r", source="operator", actor="ann")
    assert parts.occasion.due().waits is Waits.HALT


def test_the_least_is_asked_of_what_the_snapshot_keeps(parts: Wiring) -> None:
    """Of 500 preferences of one contributor ten are kept: neither schedule nor person trains on them."""
    prefer(parts.store, [f"f{n}" for n in range(500)], contributor="subject:flood")
    said = (
        "a snapshot would hold 10 pairs of training.min_preferences (64); left out: 490 beyond what one "
        "contributor may give"
    )
    assert parts.occasion.due() == Due(yes=False, reason=said, waits=Waits.PREFERENCES)
    with pytest.raises(RefusedError, match="would hold 10 pairs"):
        by_hand.train(parts, snapshot=None, actor="ann")
    assert (count(parts.store, SnapshotRow), count(parts.store, RunRow)) == (0, 0)


def test_what_is_frozen_says_what_it_leaves_out(parts: Wiring) -> None:
    """In its row, in the status, and in words."""
    prefer(parts.store, NAMES)
    prefer(parts.store, [f"f{n}" for n in range(12)], contributor="subject:flood")
    frozen = parts.occasion.freeze()
    assert isinstance(frozen, FrozenSnapshot)
    assert (frozen.pairs, frozen.left_out) == (72, {Reason.CONTRIBUTOR: 10})
    (row,) = rows(parts.store, SnapshotRow)
    assert row.left_out == {"contributor": 10}
    state = parts.status()
    assert (state["snapshot"]["pairs"], state["snapshot"]["left_out"]) == (72, {"contributor": 10})
    assert "72 pairs; left out: 10 beyond what one contributor may give" in _status_text(state)
    parts.watch.step()
    value = parts.metrics.registry.get_sample_value
    assert value("rlaifd_snapshot_pairs") == 72
    assert value("rlaifd_snapshot_left_out_pairs", {"reason": "contributor"}) == 10
    assert value("rlaifd_snapshot_left_out_pairs", {"reason": "stale"}) == 0


def test_what_is_frozen_is_what_is_there_then(parts: Wiring) -> None:
    """A prompt that left the train split since the last look does not go in."""
    prefer(parts.store, NAMES)
    assert parts.occasion.material().kept == 70
    traces = table(TraceRow)
    moved = update(traces).where(traces.c.event_id == NAMES[0]).values(split="gate")
    parts.store.write(lambda c: c.execute(moved))
    frozen = parts.occasion.freeze()
    assert isinstance(frozen, FrozenSnapshot)
    assert frozen.pairs == 69


def changed(parts: Wiring, at: float) -> None:
    put(parts.store, RolloutRow, epoch=1, stable=None, actor="a", reason="r", created_at=at)


def judged(parts: Wiring, at: float) -> None:
    rejected(parts, "support-1", at=at)


def failed(parts: Wiring, at: float) -> None:
    freeze(parts.store, "s", [])
    a_run(parts, "r", "s", state="failed", started_at=at - 9000, finished_at=at)


@pytest.mark.parametrize(
    ("happens", "what"),
    [
        (changed, "the adapter in force changed"),
        (judged, "the gate rejected an adapter"),
        (failed, "a run failed"),
    ],
)
def test_a_cool_down_keeps_a_run_from_starting(
    parts: Wiring, clock: FakeClock, happens: Callable[[Wiring, float], None], what: str
) -> None:
    """By itself, and only so long; a person may start one."""
    prefer(parts.store, NAMES, at=clock.now())
    happens(parts, clock.now() - 500)
    found = parts.occasion.due()
    assert (found.waits, found.reason) == (
        Waits.COOLDOWN,
        f"{what} less than training.cooldown_s (600) ago: 100 s are left",
    )
    assert isinstance(parts.occasion.freeze(), FrozenSnapshot)
    clock.advance(100)
    assert parts.occasion.due().yes


def test_a_rejected_recipe_waits_for_other_data(parts: Wiring, clock: FakeClock) -> None:
    """The same recipe from the same start; one pair more, or another recipe, is another training."""
    ids = prefer(parts.store, NAMES, at=clock.now())
    freeze(parts.store, "same", ids)
    plan = {"plan": {"asked": ASKED, "recipe": {}}}
    started = clock.now() - 9000
    a_run(parts, "run-1", "same", adapter="support-1", result=plan, started_at=started)
    assert parts.occasion.due().yes
    rejected(parts, "support-1", at=started)
    said = "the gate rejected support-1, which run run-1 made of these pairs"
    found = parts.occasion.due()
    assert (found.waits, found.reason) == (
        Waits.OTHER_DATA,
        f"{said}: the same recipe waits for other data",
    )
    with pytest.raises(RefusedError, match=said):
        by_hand.train(parts, snapshot=None, actor="ann")
    assert parts.status()["training"]["reason"].startswith(said)
    put(parts.store, RolloutRow, epoch=1, stable="support-0", actor="a", reason="r", created_at=started)
    assert parts.occasion.due().yes
    put(parts.store, RolloutRow, epoch=2, stable=None, actor="a", reason="r", created_at=started)
    assert not parts.occasion.due().yes
    prefer(parts.store, ["another"], at=clock.now())
    assert parts.occasion.due().yes


@pytest.mark.parametrize(
    ("columns", "waits"),
    [
        ({"state": "unchanged"}, Waits.OTHER_DATA),
        ({"state": "unchanged", "recipe": {**ASKED, "beta": 0.2}}, Waits.NOTHING),
        ({"state": "unchanged", "parent": "support-0"}, Waits.NOTHING),
        ({"state": "halted"}, Waits.NOTHING),
        ({"state": "done", "adapter": "support-1"}, Waits.NOTHING),
    ],
)
def test_what_counts_as_rejected(
    parts: Wiring, clock: FakeClock, columns: dict[str, Any], waits: Waits
) -> None:
    """A run that changed nothing does, one of another recipe or start does not; nor one that nobody judged,
    nor one that a guard halted, after which a person lets training go on.
    """
    ids = prefer(parts.store, NAMES, at=clock.now())
    freeze(parts.store, "same", ids)
    run = {"recipe": ASKED, "started_at": clock.now() - 9000, **columns}
    a_run(parts, "run-1", "same", **run)
    assert parts.occasion.due().waits is waits


def clicked(parts: Wiring, name: str, **said: Any) -> None:
    """A logged answer with a thumb."""
    thumb = Feedback(name="thumb", **said)
    add_traces(parts.store, [name], Split.TRAIN, stored_at=parts.clock.now(), feedback=[thumb])


def test_what_a_recipe_learns_from_is_what_is_counted(tmp_path: Path, clock: FakeClock) -> None:
    """Of thumbs, by the schedule, a person's `train` and the status alike, though no preference is there."""
    words = COOLING.replace("policy:\n", "policy:\n  recipe: {method: kto}\n").replace(": 70}", ": 12}")
    parts = Wiring(settings(tmp_path, words.replace("cooldown_s", "min_preferences: 12, cooldown_s")), clock)
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    for number in range(11):
        clicked(parts, f"t{number}", score=number % 2)
    assert parts.occasion.due().reason == "11 new answers of 12"
    clicked(parts, "odd", label="?")
    said = (
        "a snapshot would hold 11 answers of training.min_preferences (12); left out: 1 whose thumb has "
        "neither a score nor a known label"
    )
    assert parts.occasion.due() == Due(yes=False, reason=said, waits=Waits.PREFERENCES)
    with pytest.raises(RefusedError, match="would hold 11 answers"):
        by_hand.train(parts, snapshot=None, actor="ann")
    draft = parts.status()["draft"]
    assert (draft["stored"], draft["kept"]) == (12, 11)
    clicked(parts, "t11", score=0)
    assert parts.occasion.due().reason == "12 new answers"
    frozen = parts.occasion.freeze()
    assert isinstance(frozen, FrozenSnapshot)
    assert (frozen.pairs, frozen.left_out) == (12, {Reason.UNREADABLE: 1})
    parts.watch.step()
    value = parts.metrics.registry.get_sample_value
    assert value("rlaifd_snapshot_left_out_pairs", {"reason": "unreadable"}) == 1
    parts.close()


def test_a_rejected_recipe_waits_for_other_answers(tmp_path: Path, clock: FakeClock) -> None:
    """Those of a snapshot of pairs under the same numbers are others."""
    words = COOLING.replace("policy:\n", "policy:\n  recipe: {method: kto}\n")
    terms = "{min_new_preferences: 1, min_preferences: 1}"
    words = words.replace("{cooldown_s: 600, min_new_preferences: 70}", terms)
    parts = Wiring(settings(tmp_path, words), clock)
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    for number in range(3):
        clicked(parts, f"t{number}", score=1)
    frozen = parts.occasion.freeze()
    assert isinstance(frozen, FrozenSnapshot)
    (row,) = rows(parts.store, SnapshotRow)
    freeze(parts.store, "pairs", row.candidate_ids)
    asked = parts.settings.policy.recipe.model_dump(mode="json")
    run = {"recipe": asked, "state": "unchanged", "started_at": clock.now() - 9000}
    a_run(parts, "run-1", "pairs", **run)
    assert parts.occasion.due().yes
    a_run(parts, "run-2", frozen.id, **run)
    assert parts.occasion.due().waits is Waits.OTHER_DATA
    parts.close()


LISTED = COOLING.replace(
    "  base_model: base\n", "  base_model: base\n  recipe: [{}, {method: reward}, {method: ppo}]\n"
)


@pytest.fixture
def several(tmp_path: Path, clock: FakeClock) -> Iterator[Wiring]:
    """Of a policy with three recipes for pairs."""
    parts = Wiring(settings(tmp_path, LISTED), clock)
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    yield parts
    parts.close()


def followed(parts: Wiring) -> list[str]:
    """The methods that a scheduled training follows; their snapshot is one."""
    found = parts.occasion.freeze_each()
    assert not isinstance(found, Due), found.reason
    assert len({course.snapshot for course in found}) == 1
    return [course.recipe.method for course in found]


def released(parts: Wiring, run: str, *, at: float) -> None:
    columns = {"digest": "d", "base_model": "b", "manifest": {}, "reasons": [], "labels": 60}
    put(
        parts.store,
        RewardModelRow,
        name="m",
        run_id=run,
        state="release",
        created_at=at,
        decided_at=at,
        **columns,
    )


def test_one_snapshot_of_a_kind_is_frozen_for_several_recipes(several: Wiring, clock: FakeClock) -> None:
    """One that was rejected on the same data is left out, and the others go on."""
    ids = prefer(several.store, NAMES, at=clock.now())
    freeze(several.store, "same", ids)
    assert followed(several) == ["dpo", "reward", "ppo"]
    started = clock.now() - 9000
    a_run(several, "run-1", "same", state="unchanged", recipe=ASKED, started_at=started)
    assert several.occasion.due().yes
    assert followed(several) == ["reward", "ppo"]


def test_where_every_recipe_was_rejected_training_waits(several: Wiring, clock: FakeClock) -> None:
    """PPO cannot be followed before a reward model is released: it alone is no occasion."""
    ids = prefer(several.store, NAMES, at=clock.now())
    freeze(several.store, "same", ids)
    started = clock.now() - 9000
    a_run(several, "run-1", "same", state="unchanged", recipe=ASKED, started_at=started)
    reward = RewardRecipe().model_dump(mode="json")
    a_run(several, "run-2", "same", state="unchanged", recipe=reward, started_at=started)
    found = several.occasion.due()
    assert (found.waits, found.reason.split(":")[0]) == (
        Waits.OTHER_DATA,
        "run run-1 changed nothing on these pairs",
    )
    released(several, "run-2", at=clock.now() - 8000)
    assert several.occasion.due() == Due(yes=True, reason="a reward model was released")
    assert followed(several) == ["ppo"]


def test_a_released_reward_model_is_an_occasion_for_ppo_alone(several: Wiring, clock: FakeClock) -> None:
    """Too few preferences are new for the others; and what rejected PPO before was another reward model's."""
    prefer(several.store, NAMES, at=clock.now() - 9500)
    started = clock.now() - 9000
    (snapshot,) = {course.snapshot for course in several.occasion.freeze_each()}  # type: ignore[union-attr]
    ppo = PpoRecipe().model_dump(mode="json")
    a_run(several, "run-1", snapshot, recipe=ASKED, started_at=started)
    a_run(several, "run-2", snapshot, state="unchanged", recipe=ppo, started_at=started)
    assert several.occasion.due().waits is Waits.NEW_PREFERENCES
    released(several, "run-1", at=clock.now() - 8000)
    prefer(several.store, ["another"], at=clock.now())
    assert several.occasion.due() == Due(yes=True, reason="a reward model was released")
    assert followed(several) == ["ppo"]


def test_a_run_that_was_cut_off_goes_before_what_is_left_of_its_snapshot(several: Wiring) -> None:
    """What has learned from it already is not asked again."""
    freeze(several.store, "same", [])
    dpo, reward, ppo = several.settings.policy.recipes
    a_run(several, "run-1", "same", recipe=ASKED)
    assert several.occasion.going_on(Course("same", ppo)) == [Course("same", ppo), Course("same", reward)]
    elsewhere = Course("same", dpo.model_copy(update={"beta": 0.3}))
    assert several.occasion.going_on(elsewhere) == [elsewhere]


def test_each_kind_of_snapshot_waits_by_itself(tmp_path: Path, clock: FakeClock) -> None:
    """Pairs are enough, answers with thumbs are none: KTO waits, and keeps nobody."""
    parts = Wiring(
        settings(tmp_path, LISTED.replace("{method: reward}, {method: ppo}", "{method: kto}")), clock
    )
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    prefer(parts.store, NAMES, at=clock.now())
    assert parts.occasion.due().yes
    assert followed(parts) == ["dpo"]
    kto = parts.settings.policy.recipes[1]
    said = parts.occasion.freeze(kto)
    assert isinstance(said, Due)
    assert "0 answers of training.min_preferences" in said.reason
    parts.close()


def test_the_other_kind_is_an_occasion_too(tmp_path: Path, clock: FakeClock) -> None:
    """KTO is listed first and has nothing: DPO's pairs are found, and reasons are those of the first."""
    text = LISTED.replace("{}, {method: reward}, {method: ppo}", "{method: kto}, {}")
    parts = Wiring(settings(tmp_path, text), clock)
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    assert parts.occasion.due().reason == "0 new answers of 70"
    prefer(parts.store, NAMES, at=clock.now())
    assert parts.occasion.due() == Due(yes=True, reason="70 new preferences")
    assert followed(parts) == ["dpo"]
    parts.close()
