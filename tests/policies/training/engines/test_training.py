"""Whole trainings with shared prompts, with TRL's computation, and where a model cannot share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import numpy as safetensors

from policies.recipes import Lora
from policies.training.jobs import TrainJob, TrainResult
from policies.training.layout import ADAPTER, ADAPTER_WEIGHTS, PROGRESS
from tests.families import FAMILIES, build
from tests.policies.training.conftest import RECIPE, pair

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

JobFor = Callable[..., TrainJob]
Train = Callable[..., TrainResult]


def lines(job: TrainJob, event: str) -> list[dict[str, Any]]:
    found = (json.loads(line) for line in (job.out / PROGRESS).read_text(encoding="utf-8").splitlines())
    return [line for line in found if line["event"] == event]


def changed(**changes: Any) -> Any:
    return RECIPE.model_copy(update=changes)


def test_sharing_is_another_way_to_the_same_adapter(job_for: JobFor, train: Train) -> None:
    """Eight steps with TRL's computation and with shared prompts: the same figures and weights."""
    ours, theirs = job_for("ours"), job_for("theirs", recipe=changed(trainer="trl"))
    assert (train(ours).state, train(theirs).state) == ("done", "done")
    (ready,), (plain,) = lines(ours, "ready"), lines(theirs, "ready")
    assert ready["note"].endswith("each prompt is computed once for both answers: 29% less work")
    assert "prompt is" not in plain["note"]
    one, two = lines(ours, "step"), lines(theirs, "step")
    assert len(one) == len(two) == 8
    for mine, stock in zip(one, two, strict=True):
        # Of a margin of 0 rounding alone says whether it is above.
        assert mine["metrics"].pop("accuracy") == stock["metrics"].pop("accuracy") or mine["step"] == 1
        assert mine["metrics"] == pytest.approx(stock["metrics"], rel=1e-3, abs=1e-4)
    weights = [safetensors.load_file(job.out / ADAPTER / ADAPTER_WEIGHTS) for job in (ours, theirs)]
    for name, weight in weights[0].items():
        assert abs(weight - weights[1][name]).max() < 1e-3, name


@pytest.mark.parametrize("trainer", ["shared", "trl"])
def test_a_run_of_one_epoch_goes_on_to_the_very_same_adapter(
    trainer: str, job_for: JobFor, train: Train
) -> None:
    """Its reference is asked in every step; stopped and resumed, the adapter is bit for bit the same."""
    recipe = changed(trainer=trainer, epochs=1)
    whole, cut = job_for("whole", recipe=recipe), job_for("cut", recipe=recipe)
    expected = train(whole)
    stopped = train(cut, stop_at=2)
    assert (stopped.state, stopped.steps < 4) == ("stopped", True)
    resumed = train(cut)
    assert (resumed.state, resumed.resumed_from) == ("done", stopped.steps)
    assert resumed.files == expected.files
    assert lines(cut, "reference") == []


def test_a_model_that_cannot_share_trains_without_and_says_so(
    job_for: JobFor, train: Train, tmp_path: Path
) -> None:
    """Convolutions carry one answer into the next: the run goes on in whole rows, and tells it."""
    base = build(FAMILIES["lfm2"], tmp_path / "base")
    recipe = changed(max_steps=2, batch_size=2, lora=Lora(r=2, alpha=4, target_modules=("q_proj", "v_proj")))
    job = job_for(base_model=str(base), pairs=[pair(n) for n in range(6)], recipe=recipe)
    result = train(job)
    assert (result.state, result.steps) == ("done", 2)
    (ready,) = lines(job, "ready")
    assert ready["note"].endswith(
        "prompts are not shared: layers of kind conv see a row in a way of their own"
    )
