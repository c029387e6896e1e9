"""What a killed daemon left is freed, and what a living process is at stays as it is."""

import os
import subprocess
import time

from daemon.store import runs
from tests.daemon.stages.train.bench import Bench


def begin(bench: Bench, run: str, *, pid: int, at: float = 1.0, here: bool = True) -> None:
    """A running run, and its directory where it is of this machine."""
    if here:
        (bench.trainer.adapters_dir.parent / "runs" / run).mkdir(parents=True)
    bench.store.write(
        lambda c: runs.begin(c, run=run, snapshot_id=bench.snapshot, recipe={}, parent=None, pid=pid, now=at)
    )


def test_recovery_frees_what_a_killed_daemon_left(bench: Bench) -> None:
    """Running rows become stopped, and half-published directories are swept."""
    killed = subprocess.Popen(["true"])
    killed.wait()
    begin(bench, "r0", pid=killed.pid)
    (bench.trainer.adapters_dir / f".tmp-{killed.pid}-x").mkdir(parents=True)
    assert bench.trainer.recover() == ["r0"]
    run = bench.store.read(lambda c: runs.get(c, "r0"))
    assert run is not None
    assert (run.state, run.reason) == ("stopped", "its process ended")
    assert list(bench.trainer.adapters_dir.iterdir()) == []
    assert bench.trainer.recover() == []


def test_recovery_leaves_what_another_process_is_at(bench: Bench) -> None:
    """A run and a publication whose process lives, and a run of another machine, are not touched."""
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            begin(bench, "r1", pid=other.pid, at=time.time())
            begin(bench, "r2", pid=1, here=False)
            (bench.trainer.adapters_dir / f".tmp-{other.pid}-x").mkdir(parents=True)
            assert bench.trainer.recover() == []
            assert len(list(bench.trainer.adapters_dir.iterdir())) == 1
        finally:
            other.kill()


def test_recovery_is_not_deceived_by_a_number_given_out_again(bench: Bench) -> None:
    """In a container every daemon has the same number; after a reboot a stranger may have it."""
    begin(bench, "ours", pid=os.getpid(), at=time.time())
    (bench.trainer.adapters_dir / f".tmp-{os.getpid()}-x").mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            begin(bench, "older", pid=stranger.pid, at=time.time() - 3600)
            left = bench.trainer.adapters_dir / f".tmp-{stranger.pid}-x"
            left.mkdir()
            os.utime(left, (1, time.time() - 3600))
            assert sorted(bench.trainer.recover()) == ["older", "ours"]
        finally:
            stranger.kill()
    assert list(bench.trainer.adapters_dir.iterdir()) == []
