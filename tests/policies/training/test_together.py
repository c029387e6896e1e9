"""One training in two processes: the adapter of one process, and nobody left behind."""

import json
from typing import Any

import pytest
from safetensors.numpy import load_file

from daemon.children.child import Child, ChildFailedError
from policies.training.jobs import TrainJob, TrainResult
from policies.training.layout import ADAPTER, ADAPTER_WEIGHTS, PROGRESS
from policies.training.model import checkpoints
from tests.policies.training.conftest import pair
from tests.policies.training.launched import SHORT, TWO, JobFor, Running, endless

pytestmark = pytest.mark.training


def losses(job: TrainJob) -> list[float]:
    lines = [json.loads(line) for line in (job.out / PROGRESS).read_text(encoding="utf-8").splitlines()]
    return [line["metrics"]["loss"] for line in lines if line["event"] == "step"]


def test_two_processes_train_the_adapter_of_one(job_for: JobFor) -> None:
    """Losses within 1e-5 and weights within 1e-4, over two epochs with length buckets; the plan says how."""
    pairs = [pair(n) for n in range(16)]
    one = job_for("one", pairs=pairs, recipe=SHORT)
    two = job_for("two", pairs=pairs, recipe=SHORT, launch=TWO)
    results = [Child(job).run() for job in (one, two)]
    assert [(result.state, result.steps) for result in results] == [("done", 4)] * 2
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    weights = [load_file(job.out / ADAPTER / ADAPTER_WEIGHTS) for job in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[0].items():
        assert abs(weight - weights[1][name]).max() < 1e-4, name
    assert results[1].plan is not None
    assert "4 steps of 4 x 1 pairs in each of 2 processes" in str(results[1].plan)
    for mine, other in zip(results[0].readings, results[1].readings, strict=True):
        assert mine.kl_sequence == pytest.approx(other.kl_sequence, abs=1e-3)
    newest = checkpoints.newest(two.out / "checkpoints")
    assert newest is not None
    assert newest.name == "checkpoint-4"
    events: list[Any] = [json.loads(line)["event"] for line in (two.out / PROGRESS).read_text().splitlines()]
    assert events.count("started") == events.count("planned") == events.count("done") == 1


def test_a_stop_reaches_all_and_the_run_goes_on_where_it_stood(job_for: JobFor) -> None:
    """Asked to stop, both processes end at the same step with one checkpoint that verifies."""
    job = endless(job_for)
    running = Running(job)
    assert len(running.ranks) == 2
    running.child.stop()
    ended = running.wait()
    assert isinstance(ended, TrainResult)
    assert ended.state == "stopped"
    newest = checkpoints.newest(job.out / "checkpoints")
    assert newest is not None
    assert checkpoints.step_of(newest) == ended.steps


def test_where_one_is_killed_all_end_and_the_run_says_why(job_for: JobFor) -> None:
    """No process is left, and the reason names the signal. Of the launcher: its children die with it."""
    ended = Running(endless(job_for)).kill("launcher")
    assert isinstance(ended, ChildFailedError)
    assert "was killed by SIGKILL" in str(ended) or "Connection" in str(ended), ended


def test_what_one_process_cannot_do_is_the_reason_of_the_run(job_for: JobFor) -> None:
    """The launcher's own complaint stands behind it."""
    recipe = SHORT.model_copy(update={"batch_size": 3, "gradient_accumulation": 1})
    with pytest.raises(ChildFailedError, match="3 pairs cannot be divided among 2 processes"):
        Child(job_for(recipe=recipe, launch=TWO)).run()
