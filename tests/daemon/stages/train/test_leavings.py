"""A run that was cut off goes on from its checkpoint while traffic flows, and what nobody goes on from is
swept.
"""

import os
import subprocess
from pathlib import Path

from daemon.stages.train.trainer import Trainer
from daemon.store import runs
from policies.recipes import DpoRecipe
from policies.training.jobs import TrainResult
from policies.training.layout import CHECKPOINTS
from tests.daemon.stages.train.bench import Act, Bench, FakeChild, crash, end_as, freeze, succeed


def leaving(act: Act, *, steps: int = 3) -> Act:
    """The same, after it has left a checkpoint and told a step."""

    def left(child: FakeChild) -> TrainResult:
        (child.job.out / CHECKPOINTS / f"checkpoint-{steps}").mkdir(parents=True, exist_ok=True)
        return act(child)

    return left


def at(bench: Bench) -> str | None:
    """The snapshot of the run that was cut off and can go on."""
    found = bench.trainer.cut_off()
    return None if found is None else found.snapshot


def kept(bench: Bench) -> list[str]:
    """The runs whose checkpoints are there."""
    return sorted(path.parent.name for path in bench.state.glob(f"runs/*/{CHECKPOINTS}"))


def test_a_run_that_was_cut_off_is_asked_for_by_its_snapshot(bench: Bench) -> None:
    """Whatever came in since; where it ended whole, nothing is to be taken up any more."""
    assert bench.trainer.cut_off() is None
    bench.act = leaving(end_as("stopped", "asked to stop at step 3 of 9"))
    first = bench.train()
    freeze(bench.store, bench.state, pairs=40)
    assert at(bench) == bench.snapshot
    assert kept(bench) == [first.run]
    bench.act = succeed
    assert bench.train().run == first.run
    assert (bench.trainer.cut_off(), kept(bench)) == (None, [])


def test_a_run_without_a_checkpoint_is_not_waited_for(bench: Bench) -> None:
    """It would begin anew: on what there is now is better."""
    bench.act = end_as("stopped", "asked to stop")
    bench.train()
    assert bench.trainer.cut_off() is None


def test_another_training_takes_nothing_up(bench: Bench) -> None:
    """Another recipe is another training; the run by the old one keeps its checkpoint until one begins."""
    bench.act = leaving(end_as("stopped", "asked to stop"))
    first = bench.train()
    policy = bench.trainer._policy.model_copy(update={"recipe": DpoRecipe(beta=0.7)})
    bench.trainer._policy = policy
    assert bench.trainer.cut_off() is None
    assert kept(bench) == [first.run]
    bench.clock.advance(60)
    second = bench.train()
    assert (at(bench), kept(bench)) == (bench.snapshot, [second.run])


def test_a_child_that_crashed_waits_for_its_turn(bench: Bench) -> None:
    """It is taken up by the next training that is due, and is no reason for one."""
    bench.act = leaving(crash)
    bench.train()
    assert at(bench) == bench.snapshot
    assert bench.trainer.cut_off(by_itself=False) is None
    bench.train()
    bench.train()
    assert (bench.trainer.cut_off(), kept(bench)) == (None, [])


def killed_at(bench: Bench, trainer: Trainer, step: int) -> None:
    """The run's process is killed at a step; another one recovers."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    (run,) = bench.store.read(runs.newest)
    bench.store.write(lambda c: runs.resume(c, run.id, pid=gone.pid, now=bench.clock.now()))
    bench.store.write(lambda c: runs.advance(c, run.id, step=step))
    assert trainer.recover() == [run.id]


def test_what_kills_its_process_each_time_is_given_up(bench: Bench) -> None:
    """Three times at the same step; a step forward starts the count anew."""
    bench.act = leaving(end_as("stopped", "asked to stop"))
    bench.train()
    for step in (4, 4, 9, 9):
        killed_at(bench, bench.trainer, step)
        assert at(bench) == bench.snapshot
    killed_at(bench, bench.trainer, 9)
    assert (bench.trainer.cut_off(), kept(bench)) == (None, [])


def test_directories_of_no_run_are_swept(bench: Bench) -> None:
    """Of one killed before its row was written; a young one may be of a run that is just beginning."""
    folder = bench.state / "runs"
    for name, age in (("orphan", 3600), ("young", 0)):
        made: Path = folder / name
        made.mkdir(parents=True)
        if age:
            os.utime(made, (1.0, 1.0))
    bench.trainer.recover()
    assert [path.name for path in folder.iterdir()] == ["young"]
