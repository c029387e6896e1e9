"""Nothing trains while training is halted or the daemon ends, and a guard that stops a run halts it."""

import pytest

from daemon.children.child import ChildFailedError
from daemon.errors import HaltedError, RlaifdError, UsageError
from policies.records import Scope
from policies.states import HaltSource
from policies.training.jobs import Progress, TrainResult
from tests.daemon.stages.train.bench import Bench, FakeChild, end_as, succeed


def test_a_halted_scope_starts_nothing(bench: Bench) -> None:
    """No row, no ledger entry and no child while training is halted; an unknown snapshot is told."""
    bench.latch.halt(Scope.TRAINING, reason="alignment fell", source=HaltSource.ALERT, actor="t")
    with pytest.raises(HaltedError, match="alignment fell"):
        bench.train()
    assert bench.jobs == []
    assert bench.actions() == ["halt"]
    bench.latch.resume(Scope.TRAINING, actor="t", reason="fixed")
    with pytest.raises(UsageError, match="no snapshot abcdef"):
        bench.trainer.train("abcdef", actor="t")


def test_a_guard_that_stops_a_run_latches_a_halt(bench: Bench) -> None:
    """The run ends as halted and training stays halted until a person resumes it."""
    bench.act = end_as("halted", "step 25: kl_nats 140 nats per sequence is above 20")
    outcome = bench.train()
    assert (outcome.state, outcome.adapter) == ("halted", None)
    assert bench.value("halts_total", scope="training", source="guard") == 1
    bench.act = succeed
    with pytest.raises(HaltedError, match="kl_nats 140"):
        bench.train()


def test_a_halt_during_the_run_stops_the_child(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert does not wait for the end of the training."""
    monkeypatch.setattr("daemon.stages.train.following.LOOK_S", -1.0)
    asked: list[bool] = []

    def halted_meanwhile(child: FakeChild) -> TrainResult:
        child.tell(Progress(event="step", step=1))
        asked.append(child.asked)
        bench.latch.halt(Scope.TRAINING, reason="KL alert", source=HaltSource.ALERT, actor="t")
        child.tell(Progress(event="step", step=2))
        asked.append(child.asked)
        return TrainResult(state="stopped", reason="asked to stop at step 2 of 9", steps=2)

    bench.act = halted_meanwhile
    assert bench.train().state == "stopped"
    assert asked == [False, True]


def test_a_closing_trainer_starts_nothing(bench: Bench) -> None:
    """What comes after `stop` is refused: a schedule's thread may be late."""
    bench.trainer.stop()
    with pytest.raises(RlaifdError, match="stopping"):
        bench.train()
    assert bench.jobs == []


def test_a_child_that_dies_on_request_was_stopped(bench: Bench) -> None:
    """A request before the child can answer it kills it; the run can go on all the same."""

    def killed(child: FakeChild) -> TrainResult:
        bench.trainer.stop()
        assert child.asked
        raise ChildFailedError("the train child was killed by SIGTERM")

    bench.act = killed
    assert bench.train().state == "stopped"
