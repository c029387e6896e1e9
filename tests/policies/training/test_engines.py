"""The seam between a job and the method that does it: whatever an engine is, it is run, watched and ended
alike.
"""

import json
from collections.abc import Callable
from typing import Any, get_args

import pytest

from policies.policy import Guard, TrainingGuards
from policies.recipes import Recipe
from policies.training.jobs import TrainJob, TrainResult
from policies.training.layout import ADAPTER, PROGRESS
from policies.training.planning.resolved import Resolved
from tests.policies.training.conftest import GUARDS

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

JobFor = Callable[..., TrainJob]
Train = Callable[..., TrainResult]


def members(union: Any) -> list[Any]:
    """The classes of a union, with or without a discriminator."""
    if isinstance(union, type):
        return [union]
    return [each for part in get_args(union) for each in members(part)]


def methods(union: Any) -> set[str]:
    return {each.model_fields["method"].default for each in members(union)}


@pytest.fixture
def nudging(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts the other engine in DPO's place."""

    def put(**settings: Any) -> None:
        from policies.training.engines.registry import ENGINES
        from tests.policies.training.nudging import Nudge

        monkeypatch.setitem(ENGINES, "dpo", Nudge(**settings))

    return put


def told(job: TrainJob, event: str) -> list[dict[str, float]]:
    lines = map(json.loads, (job.out / PROGRESS).read_text(encoding="utf-8").splitlines())
    return [line["metrics"] for line in lines if line["event"] == event]


def test_every_recipe_that_can_be_written_has_its_engine() -> None:
    """Both unions and the registry name the same methods, and what all of them share is there."""
    from policies.training.engines.engine import COMMON
    from policies.training.engines.registry import ENGINES

    assert methods(Recipe) == methods(Resolved) == ENGINES.keys()
    assert len(members(Recipe)) == len(members(Resolved)) == len(ENGINES)
    for recipe in members(Recipe):
        assert {"lora", "checkpoint_steps"} <= recipe.model_fields.keys()
    for engine in ENGINES.values():
        assert set(COMMON) <= set(engine.figures)
        assert len(set(engine.figures)) == len(engine.figures)
        assert engine.remedy.startswith("raise policy.recipe.")


def test_another_engine_is_run_from_snapshot_to_adapter(
    job_for: JobFor, train: Train, nudging: Callable[..., None]
) -> None:
    """Its plan, its figures under their names, its reasons; readings, files and probe are everybody's."""
    nudging()
    result = train(job := job_for())
    assert (result.state, result.steps, result.examples) == ("done", 6, 27)
    assert result.left_out == {"asked_twice": 5}
    assert result.plan is not None
    assert result.plan.recipe.steps == 6
    assert result.metrics["size"] == 0.05
    assert result.metrics["nudges"] == 6
    assert [sorted(step) for step in told(job, "step")] == [
        ["grad_norm", "learning_rate", "loss", "size"]
    ] * 6
    assert [reading.step for reading in result.readings] == [0, 4, 6]
    assert {reading.chosen_drift for reading in result.readings} == {None}
    assert [sorted(each) for each in told(job, "guard")] == [["entropy", "kl_sequence", "kl_token"]] * 3
    assert result.readings[-1].kl_sequence > result.readings[0].kl_sequence
    assert len(result.files) == 2
    assert result.probe is not None


def test_another_engine_goes_on_from_its_checkpoint(
    job_for: JobFor, train: Train, nudging: Callable[..., None]
) -> None:
    """Asked to stop it leaves one, and ends as the same adapter with the same readings."""
    nudging()
    expected = train(job_for("whole"))
    cut = job_for("cut")
    stopped = train(cut, stop_at=3)
    assert (stopped.state, stopped.reason) == ("stopped", "asked to stop at step 4 of 6")
    resumed = train(cut)
    assert (resumed.state, resumed.resumed_from, resumed.rate) == ("done", 4, None)
    assert (resumed.files, resumed.probe, resumed.readings) == (
        expected.files, expected.probe, expected.readings
    )  # fmt: skip


def test_the_guards_end_another_engine(job_for: JobFor, train: Train, nudging: Callable[..., None]) -> None:
    """By KL on fresh answers, and by a loss that is not a number."""
    nudging()
    far = train(job := job_for("far", guards=GUARDS.model_copy(update={"kl_nats": Guard(limit=1e-6)})))
    assert (far.state, far.steps, far.files) == ("halted", 4, {})
    assert far.reason.startswith("step 4: kl_nats")
    nudging(bad=3)
    bad = train(job_for("bad", guards=TrainingGuards(every_steps=100, samples=4)))
    assert (bad.state, bad.reason) == ("halted", "step 3: the loss is nan")
    assert not (job.out / ADAPTER).exists()


def test_what_changed_nothing_has_the_engines_own_remedy(
    job_for: JobFor, train: Train, nudging: Callable[..., None]
) -> None:
    """What to raise depends on the method."""
    nudging(size=0.0)
    assert train(job_for()).reason == "training changed no weight: nudge harder"
