"""Where training starts and what it is kept near are chosen apart."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from policies.training.jobs import JOBS, TrainJob
from policies.training.jobs import TrainResult as Result
from policies.training.layout import ADAPTER, PROGRESS
from tests.policies.training.conftest import RECIPE

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

JobFor = Callable[..., TrainJob]
Train = Callable[..., Result]


def margins(job: TrainJob) -> list[float]:
    found = (json.loads(line) for line in (job.out / PROGRESS).read_text(encoding="utf-8").splitlines())
    return [line["metrics"]["margin"] for line in found if line["event"] == "step"]


@pytest.fixture
def stable(job_for: JobFor, train: Train) -> Path:
    """An adapter that is some way from the base."""
    job = job_for("stable")
    assert train(job).state == "done"
    return job.out / ADAPTER


def short(**changes: Any) -> Any:
    return RECIPE.model_copy(update={"max_steps": 2, **changes})


@pytest.mark.parametrize("steps", [{"max_steps": 2}, {"max_steps": -1, "epochs": 2}])
def test_every_start_goes_with_every_reference(
    job_for: JobFor, train: Train, stable: Path, steps: dict[str, float]
) -> None:
    """At the first step policy and reference are level where they are the same. Where the one is the base and
    the other the adapter, the margins are each other's opposites, and KL is read to the reference.
    """
    recipe = short(**steps)
    same = {
        "base": job_for("base", recipe=recipe),
        "stable": job_for("level", recipe=recipe, parent=stable),
    }
    for job in same.values():
        result = train(job)
        assert abs(margins(job)[0]) < 1e-3
        assert result.readings[0].kl_sequence == pytest.approx(0, abs=1e-5)
    away = job_for("away", recipe=recipe, parent=stable, reference="base")
    back = job_for("back", recipe=recipe, reference=stable)
    found = {job.out.name: train(job) for job in (away, back)}
    assert {result.state for result in found.values()} == {"done"}
    assert margins(away)[0] == pytest.approx(-margins(back)[0], abs=1e-4)
    assert margins(away)[0] > 0.05
    for result in found.values():
        assert result.readings[0].kl_sequence > 1e-3
        assert result.probe is not None
    assert found["away"].files != found["back"].files


def test_what_a_run_changed_is_told_by_its_start(job_for: JobFor, train: Train, stable: Path) -> None:
    """Without a step that changes it, a run that goes on is unchanged, however far its reference is."""
    recipe = short(learning_rate=1e-12)
    result = train(job_for("still", recipe=recipe, parent=stable, reference="base"))
    assert result.state == "unchanged"


def test_a_run_with_another_reference_is_taken_up(job_for: JobFor, train: Train, stable: Path) -> None:
    """Stopped and resumed it is the very same adapter: the reference stays frozen and out of the files."""
    recipe = RECIPE.model_copy(update={"epochs": 1, "max_steps": 6})
    whole = job_for("whole", recipe=recipe, reference=stable)
    expected = train(whole)
    cut = job_for("cut", recipe=recipe, reference=stable)
    stopped = train(cut, stop_at=3)
    assert stopped.state == "stopped"
    resumed = train(cut)
    assert (resumed.state, resumed.resumed_from) == ("done", stopped.steps)
    assert (resumed.files, resumed.probe) == (expected.files, expected.probe)


def test_a_job_keeps_its_reference(job_for: JobFor, tmp_path: Path) -> None:
    """Written and read again; a second adapter beside a parent is refused."""
    job = job_for()
    for reference in ("start", "base", tmp_path / "adapter"):
        read = JOBS.validate_json(job.model_copy(update={"reference": reference}).model_dump_json())
        assert isinstance(read, TrainJob)
        assert read.reference == reference
        assert read.frozen == (reference == tmp_path / "adapter")
    with pytest.raises(ValidationError, match="needs a run that starts from the base"):
        TrainJob.model_validate({**job.model_dump(), "reference": tmp_path / "a", "parent": tmp_path / "b"})
