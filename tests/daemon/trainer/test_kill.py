"""Kill -9 of a daemon amid a real training."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from daemon import adapters
from daemon.store import adapters as adapter_rows
from daemon.store import runs
from daemon.store.store import Store
from policies.training.jobs import PROGRESS
from tests.daemon.trainer import daemonprocess
from tests.daemon.trainer.bench import freeze
from tests.daemon.trainer.daemonprocess import real_trainer
from tests.daemon.trainer.killed import Scene
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


@pytest.mark.training
def test_a_training_whose_daemon_is_killed_ends_as_one_adapter(tiny_model: Path, tmp_path: Path) -> None:
    """Kill -9 of the daemon amid a real training: the next call resumes it and publishes one adapter."""
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
    assert trainer.recover() != []
    outcome = trainer.train(snapshot_id, actor="test")
    trainer._store.close()
    assert outcome.state == "done"
    assert outcome.result is not None
    assert outcome.result.resumed_from >= 40
    assert outcome.result.steps == 160
    published = list((state / "adapters").iterdir())
    assert [path.name for path in published] == [outcome.adapter]
    adapters.verify(published[0], published[0].name)
    store = Store(f"sqlite:///{state / 'rlaifd.db'}")
    counted = select(func.count()).select_from(adapter_rows.ADAPTER)
    assert store.read(lambda c: c.scalar(counted)) == 1
    assert [run.state for run in store.read(runs.newest)] == ["done"]
    store.close()


@pytest.mark.training
@pytest.mark.parametrize(("method", "step"), [("reward", 50), ("ppo", 5)])
def test_a_killed_training_of_another_method_ends_as_if_nothing_had_happened(
    method: str, step: int, tiny_model: Path, tmp_path: Path
) -> None:
    """Kill -9 of the daemon amid it, taken up again: the same files as of a run in one go, bit for bit."""
    scene = Scene(tmp_path / "state", str(tiny_model), method)
    whole = scene.files(scene.train())
    scene.train_and_kill(step)
    assert len(scene.trainer.recover()) == 1
    resumed = scene.train()
    assert resumed.result is not None
    assert resumed.result.resumed_from > 0
    assert scene.files(resumed) == whole
    assert {run.state for run in scene.trainer._store.read(runs.newest)} == {"done"}
    scene.close()
