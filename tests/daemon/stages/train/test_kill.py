"""Kill -9 of a daemon amid a real training."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from daemon.adapters import adapters
from daemon.stages.train.schedule import Harvest, Situation, StartTerms, due
from daemon.stages.train.trainer import Trainer
from daemon.store import adapters as adapter_rows
from daemon.store import runs
from daemon.store.store import Store
from policies.training.layout import CHECKPOINTS, PROGRESS
from tests.daemon.stages.train import daemonprocess
from tests.daemon.stages.train.bench import freeze
from tests.daemon.stages.train.daemonprocess import real_trainer
from tests.killing import ROOT


def wait_for_step(folder: Path, step: int, daemon: "subprocess.Popen[bytes]") -> None:
    """Waits until the run has reported the step."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert daemon.poll() is None, "the daemon ended by itself"
        for file in folder.glob(f"*/{PROGRESS}"):
            lines = file.read_bytes().split(b"\n")[:-1]
            if any(json.loads(line)["step"] >= step for line in lines):
                return
        time.sleep(0.01)
    pytest.fail("the training did not get that far")


TERMS = StartTerms(interval_s=3600, min_new=256, min_preferences=16)


def facts(trainer: Trainer) -> Situation:
    """As the daemon reads them, right after a start."""
    return Situation(
        last_start=trainer._store.read(runs.last_start),
        new_preferences=16,
        halted=False,
        running=trainer._store.read(runs.running),
        material=lambda: Harvest(kept=48),
        cut_off=trainer.cut_off(by_itself=False) is not None,
    )


@pytest.mark.training
def test_a_training_whose_daemon_is_killed_ends_as_one_adapter(tiny_model: Path, tmp_path: Path) -> None:
    """Kill -9 of the daemon amid a real training, with new preferences since: the schedule begins no run of
    them but takes this one up at its checkpoint, at once, and one adapter and no orphan is what is left.
    """
    state = tmp_path / "state"
    state.mkdir()
    trainer = real_trainer(state, str(tiny_model))
    snapshot_id = freeze(trainer._store, state)
    arguments = [sys.executable, "-m", daemonprocess.__name__, str(state), str(tiny_model), snapshot_id]
    with subprocess.Popen(arguments, cwd=ROOT, env=os.environ) as daemon:
        try:
            wait_for_step(state / "runs", 45, daemon)
        finally:
            daemon.kill()
    newer = freeze(trainer._store, state, pairs=48)
    (run,) = trainer.recover()
    decision = due(facts(trainer), TERMS, now=trainer._clock.now())
    assert decision.yes, decision.reason
    cut_off = trainer.cut_off()
    outcome = trainer.train(newer if cut_off is None else cut_off.snapshot, actor="schedule")
    assert (outcome.run, trainer.cut_off()) == (run, None)
    trainer._store.close()
    assert outcome.state == "done"
    assert outcome.result is not None
    assert outcome.result.resumed_from >= 40
    assert outcome.result.steps == 160
    assert sorted(path.name for path in (state / "runs").iterdir()) == [run]
    assert not list(state.glob(f"runs/*/{CHECKPOINTS}")) + list(state.glob("adapters/.tmp-*"))
    published = list((state / "adapters").iterdir())
    assert [path.name for path in published] == [outcome.adapter]
    adapters.verify(published[0], published[0].name)
    store = Store(f"sqlite:///{state / 'rlaifd.db'}")
    counted = select(func.count()).select_from(adapter_rows.ADAPTER)
    assert store.read(lambda c: c.scalar(counted)) == 1
    assert [run.state for run in store.read(runs.newest)] == ["done"]
    store.close()
