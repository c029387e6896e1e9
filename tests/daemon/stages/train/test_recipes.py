"""Recipes that learn from something else than pairs, and several at once: what each waits for and follows."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from daemon.clock import FakeClock
from daemon.errors import RefusedError
from daemon.stages.train.course import Course
from daemon.stages.train.freeze import FrozenSnapshot
from daemon.stages.train.schedule import Due, Waits
from daemon.store.tables import RewardModelRow, SnapshotRow
from daemon.wiring import by_hand
from daemon.wiring.parts import Wiring
from policies.recipes import PpoRecipe, RewardRecipe
from policies.records import Feedback, Split
from policies.selection import Reason
from tests.daemon.configuration import settings
from tests.daemon.preferring import freeze, prefer
from tests.daemon.stages.seeding import add_labelled, add_traces, rows, table
from tests.daemon.stages.train.occasions import ASKED, COOLING, NAMES, a_run, released


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
    """The methods that a scheduled training follows; those of one kind have one snapshot."""
    found = parts.occasion.freeze_each()
    assert not isinstance(found, Due), found.reason
    kinds = {"dpo": "pairs", "reward": "pairs"}  # without labels both are the same
    snapshots = {(kinds.get(each.recipe.method, each.recipe.method), each.snapshot) for each in found}
    assert len(snapshots) == len({kind for kind, _ in snapshots})
    return [course.recipe.method for course in found]


def test_what_learns_from_pairs_has_one_snapshot_without_labels(several: Wiring, clock: FakeClock) -> None:
    """One that was rejected on the same data is left out, and the others go on; PPO waits."""
    ids = prefer(several.store, NAMES, at=clock.now())
    freeze(several.store, "same", ids)
    assert followed(several) == ["dpo", "reward"]
    started = clock.now() - 9000
    a_run(several, "run-1", "same", state="unchanged", recipe=ASKED, started_at=started)
    assert several.occasion.due().yes
    assert followed(several) == ["reward"]
    released(several, "run-1", at=clock.now() - 8000)
    assert followed(several) == ["reward", "ppo"]


def test_people_s_labels_make_a_snapshot_of_the_reward_model_s_own(several: Wiring, clock: FakeClock) -> None:
    """DPO's is without them."""
    prefer(several.store, NAMES, at=clock.now())
    add_labelled(several.store, {"calibrated": True}, split=Split.CALIBRATE)
    found = several.occasion.freeze_each()
    assert not isinstance(found, Due)
    pairs = {row.id: row.pairs for row in rows(several.store, SnapshotRow)}
    assert [(each.recipe.method, pairs[each.snapshot]) for each in found] == [("dpo", 70), ("reward", 71)]


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
    """Too little is new for the others; and what rejected PPO before was another reward model's."""
    prefer(several.store, NAMES, at=clock.now() - 9500)
    started = clock.now() - 9000
    ppo = several.occasion.freeze(several.settings.policy.recipes[2])
    pairs = several.occasion.freeze()
    assert isinstance(ppo, FrozenSnapshot)
    assert isinstance(pairs, FrozenSnapshot)
    a_run(several, "run-1", pairs.id, recipe=ASKED, started_at=started)
    asked = PpoRecipe().model_dump(mode="json")
    a_run(several, "run-2", ppo.id, state="unchanged", recipe=asked, started_at=started)
    a_run(several, "run-3", pairs.id, recipe=RewardRecipe().model_dump(mode="json"), started_at=started)
    assert several.occasion.due().waits is Waits.NEW_PREFERENCES
    released(several, "run-1", at=clock.now() - 8000)
    prefer(several.store, ["another"], at=clock.now())
    assert several.occasion.due() == Due(yes=True, reason="a reward model was released")
    assert followed(several) == ["ppo"]


ALONE = COOLING.replace("  base_model: base\n", "  base_model: base\n  recipe: {method: ppo}\n")


def test_ppo_waits_for_the_labels_that_release_its_reward_model(tmp_path: Path, clock: FakeClock) -> None:
    """However many prompts there are; the schedule, the status and the metric name it."""
    parts = Wiring(settings(tmp_path, ALONE), clock)
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    value = parts.metrics.registry.get_sample_value
    add_traces(parts.store, NAMES, Split.TRAIN, stored_at=clock.now())
    said = "PPO waits for a released reward model, and none is held: `rlaifd train --method reward`"
    assert parts.occasion.due() == Due(yes=False, reason=said, waits=Waits.REWARD_MODEL)
    assert isinstance(parts.occasion.freeze_each(), Due)
    parts.watch.step()
    assert math.isnan(value("rlaifd_reward_model_missing_labels") or 0.0)
    freeze(parts.store, "s", [])
    a_run(parts, "run-1", "s", recipe={"method": "reward"})
    held = {"state": "hold", "reasons": ["labels: 12 of 50, 38 are missing"], "labels": 12}
    released(parts, "run-1", at=clock.now(), missing=38, **held)
    parts.watch.step()
    assert value("rlaifd_reward_model_missing_labels") == 38
    state = parts.status()
    said = "PPO waits for reward model m, which is held: labels: 12 of 50, 38 are missing"
    assert state["reward_model"] == {"name": "m", "missing": 38, "reason": said}
    assert {"part": "ppo", "waits": said} in state["waits"]
    assert (
        "about 38 labelled audit pairs are missing until reward model m is decided on, for which PPO waits: "
        "no pair waits to be labelled"
    ) in state["needs"]
    change = update(table(RewardModelRow)).values(missing=None)
    parts.store.write(lambda c: c.execute(change))
    parts.watch.step()
    assert value("rlaifd_reward_model_missing_labels") == math.inf
    (line,) = (each for each in parts.status()["needs"] if "reward model m" in each)
    assert line.endswith("train another one (`rlaifd train --method reward`)")
    change = update(table(RewardModelRow)).values(state="release")
    parts.store.write(lambda c: c.execute(change))
    parts.watch.step()
    assert math.isnan(value("rlaifd_reward_model_missing_labels") or 0.0)
    assert parts.status()["reward_model"] is None
    assert parts.occasion.due().yes
    parts.close()


def test_a_run_that_was_cut_off_goes_on_alone(several: Wiring) -> None:
    """Recipes of other kinds have snapshots of their own, and their own turn."""
    freeze(several.store, "same", [])
    dpo, _, ppo = several.settings.policy.recipes
    a_run(several, "run-1", "same", recipe=ASKED)
    elsewhere = Course("same", dpo.model_copy(update={"beta": 0.3}))
    for course in (Course("same", ppo), elsewhere):
        assert several.occasion.going_on(course) == [course]


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
