"""A training that was stopped or crashed is taken up by the same training, and by no other."""

import pytest

from daemon.store import runs
from policies.recipes import DpoRecipe
from policies.training.jobs import TrainResult
from policies.training.layout import JOB
from tests.daemon.stages.train.bench import Bench, FakeChild, crash, end_as, succeed


def test_a_stopped_run_is_taken_up_by_the_same_training_only(bench: Bench) -> None:
    """The same snapshot, recipe and guards go on in the same directory; another recipe begins anew."""
    bench.act = end_as("stopped", "asked to stop at step 3 of 9")
    first = bench.train()
    other = bench.train(recipe=DpoRecipe(beta=0.7))
    bench.act = succeed
    resumed = bench.train()
    assert resumed.run == first.run != other.run
    assert bench.jobs[2].out == bench.jobs[0].out
    assert bench.actions()[-2:] == ["training resumed", "training done"]
    assert bench.train().run not in {first.run, other.run}


def test_a_crash_is_an_outcome_and_is_taken_up_a_few_times(bench: Bench) -> None:
    """The reason is kept; after three crashes a new run is begun."""
    bench.act = crash
    outcomes = [bench.train() for _ in range(4)]
    assert {outcome.state for outcome in outcomes} == {"failed"}
    assert "boom" in outcomes[0].reason
    assert [outcome.run == outcomes[0].run for outcome in outcomes] == [True, True, True, False]
    assert bench.value("training_runs_total", result="failed") == 4


@pytest.mark.parametrize("body", ["", '{"kind": "train", "out": "/', '{"kind": "train", "novel": 1}'])
def test_a_job_file_that_cannot_be_read_begins_anew(bench: Bench, body: str) -> None:
    """Cut off by a kill, or written by another version: that run is not taken up, and blocks nothing."""
    bench.act = end_as("stopped", "asked to stop")
    stopped = bench.train()
    (bench.state / "runs" / stopped.run / JOB).write_text(body, encoding="utf-8")
    bench.act = succeed
    outcome = bench.train()
    assert outcome.state == "done"
    assert outcome.run != stopped.run


def test_an_interrupted_run_is_not_left_running(bench: Bench) -> None:
    """Ctrl-C in the middle: the row says stopped, and the interrupt goes on."""

    def interrupted(child: FakeChild) -> TrainResult:
        raise KeyboardInterrupt

    bench.act = interrupted
    with pytest.raises(KeyboardInterrupt):
        bench.train()
    (run,) = bench.store.read(runs.newest)
    assert (run.state, run.reason) == ("stopped", "interrupted")
    bench.act = succeed
    assert bench.train().run == run.id
