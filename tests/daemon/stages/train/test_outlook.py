"""What a training would do is shown without doing any of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.cli import outlook as shown
from daemon.errors import UsageError
from daemon.stages.train import outlook
from daemon.stages.train.freeze import NoPreferencesError
from daemon.stages.train.outlook import Outlook, Planner
from daemon.store import candidates, preferences, runs
from daemon.store.candidates import Cut
from daemon.store.snapshots import Held
from daemon.store.store import Store
from daemon.store.tables import RunRow, SnapshotRow
from daemon.wiring import by_hand
from daemon.wiring.parts import Wiring
from policies import snapshot
from policies.curation import Preference
from policies.recipes import DpoRecipe
from policies.records import Split
from policies.training.jobs import PlanJob, PlanResult, TrainResult
from policies.training.planning.plan import TrainingPlan
from tests.daemon.configuration import settings
from tests.daemon.stages.seeding import add_candidate, add_trace, count
from tests.policies.training.conftest import pair
from tests.policies.training.planning.facts import EIGHT, GB, plan

CUT = Cut(logged=(1, 150), sampled=(54, 450))


class Planning:
    """In the place of a child: keeps what it was asked, and answers a plan for the pairs of the snapshot."""

    def __init__(self, job: PlanJob, asked: list[PlanJob]) -> None:
        asked.append(job)
        self._pairs = len(snapshot.read(job.snapshot, job.snapshot_id).pairs)

    def run(self) -> PlanResult:
        return PlanResult(state="done", plan=plan(self._pairs))


@pytest.fixture
def asked() -> list[PlanJob]:
    return []


@pytest.fixture
def parts(tmp_path: Path, asked: list[PlanJob]) -> Iterator[Wiring]:
    """A command's parts, whose plans no child makes."""
    parts = Wiring(settings(tmp_path))
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()

    def start(job: PlanJob, **_: Any) -> Any:
        return Planning(job, asked)

    parts.planner = Planner(
        store=parts.store,
        state_dir=parts.settings.state_dir,
        asked=parts.trainer.asked,
        stall_s=1.0,
        start=start,
    )
    yield parts
    parts.close()


def prefer(store: Store, number: int) -> None:
    """A stored preference of a prompt of its own."""
    trace = add_trace(store, f"t{number}", Split.TRAIN)
    good, bad = (add_candidate(store, trace, text, sample=n) for n, text in enumerate(("good", "bad")))
    made = Preference(trace, f"t{number}", f"c{number}", good, bad, 5.0, 1.0, 0.9, (1, 2))
    store.write(lambda c: preferences.store_preferences(c, [made], looked_at=[trace], now=1.0))


def test_a_plan_stores_nothing(parts: Wiring, asked: list[PlanJob]) -> None:
    """No run, no snapshot and no file is left, and what was asked is what a training would be asked."""
    for number in range(3):
        prefer(parts.store, number)
    found = by_hand.plan(parts, snapshot=None)
    assert found.plan.facts.lengths.pairs == 3
    assert found.notes == ("a snapshot would hold 3 pairs of training.min_preferences (64)",)
    (job,) = asked
    assert (job.base_model, job.recipe) == (parts.settings.policy.base_model, DpoRecipe())
    assert (job.guard_max_new_tokens, job.parent) == (256, None)
    assert (count(parts.store, RunRow), count(parts.store, SnapshotRow)) == (0, 0)
    assert not job.snapshot.exists()
    assert not job.out.exists()
    assert not (parts.settings.state_dir / "snapshots").exists()


def test_a_plan_of_a_given_snapshot_reads_it_where_it_is(parts: Wiring, asked: list[PlanJob]) -> None:
    """By its file or by its id; a file that is none, and an unknown id, are told."""
    name, path = snapshot.write(parts.settings.state_dir / "elsewhere", "p", [pair(n) for n in range(200)])
    assert by_hand.plan(parts, snapshot=str(path)).notes == ()
    parts.store.write(lambda c: preferences.store_snapshot(c, name, str(path), Held([1]), note="", now=1.0))
    assert by_hand.plan(parts, snapshot=name).plan.recipe.steps == 50
    assert [(job.snapshot, job.snapshot_id) for job in asked] == [(path, name)] * 2
    assert path.exists()
    with pytest.raises(UsageError, match="there is no snapshot nothing"):
        by_hand.plan(parts, snapshot="nothing")
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="line 1"):
        by_hand.plan(parts, snapshot=str(path))


def test_nothing_can_be_planned_from_nothing(parts: Wiring) -> None:
    """The line is that of a training."""
    with pytest.raises(NoPreferencesError, match="nothing to train on yet"):
        by_hand.plan(parts, snapshot=None)


def test_answers_that_a_limit_cut_are_counted_by_origin(store: Store) -> None:
    """Logged and sampled ones have different limits to raise."""
    assert store.read(candidates.cut) == Cut((0, 0), (0, 0))
    trace = add_trace(store, "a", Split.TRAIN)
    for number in range(4):
        add_candidate(store, trace, f"text {number}", sample=number, truncated=number == 0)
    assert store.read(candidates.cut) == Cut(logged=(0, 1), sampled=(1, 4))


def test_the_hint_names_the_limit_to_raise() -> None:
    """Where a twentieth of the answers or fewer were cut, nothing is said."""
    assert outlook.hints(CUT) == (
        "54 of 450 sampled answers ended at their limit: raise policy.sampling.max_new_tokens",
    )
    assert outlook.hints(Cut((5, 100), (0, 0))) == ()
    assert "the agent's own limit" in outlook.hints(Cut((6, 100), (0, 0)))[0]


def ended(store: Store, run: str, result: TrainResult, *, at: float) -> None:
    """A run that ended with a result."""
    store.write(lambda c: runs.begin(c, run=run, snapshot_id="s", recipe={}, parent=None, pid=1, now=at))
    told = result.model_dump(mode="json")
    store.write(lambda c: runs.end(c, run, state="done", reason="", now=at, result=told))


def test_the_last_run_of_the_same_model_knows_the_speed_best(store: Store) -> None:
    """Another model's, and that of a run that was interrupted, say nothing; else the measurement counts."""
    store.write(lambda c: preferences.store_snapshot(c, "s", "s.jsonl", Held([]), note="", now=0.0))
    now = plan(200).model_copy(update={"rate": 5e10})
    assert outlook.pace(store, now) == (5e10, "measured now, in a second")
    assert outlook.pace(store, plan(200)) == (None, "no rate is known")
    for at, (run, shape, rate) in enumerate(
        [("older", None, 1e10), ("newer", None, 2e10), ("resumed", None, None), ("other", EIGHT, 9e12)]
    ):
        of = plan(16) if shape is None else plan(16, shape=shape)
        ended(store, run, TrainResult(state="done", plan=of, rate=rate), at=at)
    assert outlook.pace(store, now) == (2e10, "as fast as run newer")


def an_outlook(made: TrainingPlan, **changes: Any) -> Outlook:
    fields: dict[str, Any] = {
        "base_model": "models/base", "snapshot": "s", "parent": None, "rate": 5e10, "basis": "measured now",
        "cut": CUT, "notes": ("a note",),
    }  # fmt: skip
    return Outlook(made, **(fields | changes))


def test_a_person_reads_every_number() -> None:
    """What was decided, what it needs, and what was left open."""
    made = plan(200, there=21 * GB)
    facts = made.facts.model_copy(update={"left_out": {"identical": 0, "too_long": 1}, "cut": 3})
    assert shown.text(an_outlook(made.model_copy(update={"facts": facts}))).splitlines() == [
        "method         dpo, LoRA r=16 alpha=32, from the base model",
        "base model     models/base (135 M weights)",
        (
            "data           200 pairs of 59,200 tokens, the longest sequence 148 (max_length 4096); "
            "left out: 1 too long; rejected answers cut off: 3"
        ),
        "learning rate  0.00015, 5 warm-up steps",
        "epochs         2",
        "batch          4 x 2 pairs, without checkpointing",
        "steps          50; guards look 4 times, at 16 answers",
        (
            "memory         4.6 GB (weights 0.5, adapter 0.1, activations 1.6, logits 1.4, readings 0.8, "
            "process 0.9) of 21.0 GB on the cpu"
        ),
        "time           about 31.6 minutes (estimate: 9.5e+13 operations, 5e+10 a second, measured now)",
        (
            "auto           learning_rate, epochs, batch_size, gradient_accumulation, "
            "gradient_checkpointing, warmup_ratio"
        ),
        "note           a note",
    ]


def test_a_refusal_and_an_unknown_are_said() -> None:
    """Nothing that is not known is made up."""
    text = shown.text(an_outlook(plan(200, there=1 * GB), rate=None, basis="no rate is known", parent="a-1"))
    assert "refused        one pair of 148 tokens does not fit" in text
    assert "time           unknown: no rate is known" in text
    assert "from adapter a-1" in text
    assert "of an unknown amount on the cpu" in shown.text(an_outlook(plan(200, there=None)))


def test_a_script_reads_the_same() -> None:
    """One flat object; memory in bytes, with its sum and what is there."""
    made = plan(16, there=21 * GB)
    state = shown.state(an_outlook(made))
    assert (state["method"], state["learning_rate"], state["steps"]) == ("dpo", 1.7e-4, 24)
    assert (state["batch_size"], state["epochs"], state["warmup_steps"]) == (4, 6, 0)
    assert state["asked"]["learning_rate"] == "auto"
    assert state["memory_bytes"]["total"] == made.memory.total
    assert state["memory_bytes"]["there"] == 21 * GB
    assert state["answers_cut"]["sampled"] == {"cut": 54, "answers": 450}
    assert (state["minutes"], state["refusal"]) == (pytest.approx(made.flops / 5e10 / 60, abs=0.1), "")
