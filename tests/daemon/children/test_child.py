"""The supervision of children, with small scripts in the place of torch."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from daemon.children.child import Child, ChildFailedError, environment
from policies.records import Message
from policies.training.jobs import Progress, SampleJob, SampleResult, TrainJob, TrainResult

PRELUDE = """
import json, os, pathlib, signal, sys, time
out = pathlib.Path(sys.argv[1]).parent
job = json.loads(pathlib.Path(sys.argv[1]).read_text())
def say(event, **more):
    with (out / "progress.jsonl").open("a") as file:
        file.write(json.dumps({"event": event, **more}) + "\\n")
def answer(**more):
    (out / "result.json").write_text(json.dumps({"kind": job["kind"], **more}))
"""
FINISHES = "say('started'); say('step', step=1, metrics={'loss': 0.5}); answer(state='done', steps=1)"


def script(body: str) -> Callable[[Path], Sequence[str]]:
    return lambda job: [sys.executable, "-c", PRELUDE + body, str(job)]


def sample_job(out: Path) -> SampleJob:
    return SampleJob(out=out, base_model="none", prompts=((Message(role="user", content="hi"),),))


def train_job(out: Path) -> TrainJob:
    return TrainJob(
        out=out, base_model="none", snapshot=out / "s.jsonl", snapshot_id="0" * 64, lock=out / "lock"
    )


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(") ", 1)[1][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_progress_is_passed_on_and_the_result_is_answered(tmp_path: Path) -> None:
    """Every line of progress arrives once and in order, and the typed result comes back."""
    seen: list[Progress] = []
    result = Child(train_job(tmp_path), on_progress=seen.append, command=script(FINISHES)).run()
    assert isinstance(result, TrainResult)
    assert result.state == "done"
    assert [(line.event, line.step) for line in seen] == [("started", 0), ("step", 1)]


def test_a_second_run_reads_only_its_own_progress(tmp_path: Path) -> None:
    """A resumed job appends to progress.jsonl; what the first run said is not told again."""
    Child(train_job(tmp_path), command=script(FINISHES)).run()
    seen: list[Progress] = []
    Child(train_job(tmp_path), on_progress=seen.append, command=script(FINISHES)).run()
    assert len(seen) == 2


def test_a_crash_is_told_with_the_logs_last_lines(tmp_path: Path) -> None:
    """The error is one line that names the exit code, the last of the log, and where the log is."""
    body = (
        "print('noise'); sys.stderr.write('Traceback:\\n  deep\\nValueError: no such layer\\n'); sys.exit(3)"
    )
    with pytest.raises(ChildFailedError) as caught:
        Child(sample_job(tmp_path), command=script(body)).run()
    message = str(caught.value)
    assert "ended with code 3" in message
    assert "ValueError: no such layer" in message
    assert str(tmp_path / "log.txt") in message
    assert "\n" not in message


def test_an_old_result_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    """A child that ends well without a result has failed, whatever lies there from before."""
    (tmp_path / "result.json").write_text('{"kind":"train","state":"done"}', encoding="utf-8")
    with pytest.raises(ChildFailedError, match="ended with code 0"):
        Child(train_job(tmp_path), command=script("pass")).run()


def test_a_failed_result_is_an_error_with_its_reason(tmp_path: Path) -> None:
    """A child that can say why it failed is quoted."""
    with pytest.raises(ChildFailedError, match="sample failed: no such prompt file"):
        Child(
            sample_job(tmp_path), command=script("answer(state='failed', reason='no such prompt file')")
        ).run()


def test_a_child_without_progress_is_killed_with_its_group(tmp_path: Path) -> None:
    """A hang is ended after the stall time, with everything the child had started."""
    body = """
import subprocess
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
say("started", step=worker.pid)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(600)
"""
    seen: list[Progress] = []
    child = Child(train_job(tmp_path), stall_s=0.5, on_progress=seen.append, command=script(body))
    with pytest.raises(ChildFailedError, match=r"reported no progress for 0\.5 s"):
        child.run()
    assert child.pid is not None
    assert not alive(child.pid)
    wait_for(lambda: not alive(seen[0].step))


def test_a_stopped_child_may_leave_its_result(tmp_path: Path) -> None:
    """SIGTERM comes first; a training that leaves a checkpoint answers that it was stopped."""
    body = """
def end(*_):
    answer(state="stopped", reason="asked to stop", steps=4)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
say("started")
time.sleep(600)
"""
    child: Child[TrainResult]
    started = threading.Event()

    def stop_when_started() -> None:
        started.wait(60)
        child.stop()

    child = Child(train_job(tmp_path), on_progress=lambda _: started.set(), command=script(body))
    asker = threading.Thread(target=stop_when_started)
    asker.start()
    result = child.run()
    asker.join()
    assert (result.state, result.steps) == ("stopped", 4)


def test_a_child_that_ignores_the_request_is_killed_after_the_grace(tmp_path: Path) -> None:
    """Nothing outlives the grace period."""
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN); say('started'); time.sleep(600)"
    child: Child[SampleResult]
    child = Child(sample_job(tmp_path), grace_s=0.3, on_progress=lambda _: child.stop(), command=script(body))
    with pytest.raises(ChildFailedError, match="did not end within"):
        child.run()
    assert child.pid is not None
    assert not alive(child.pid)


def test_a_child_sees_no_secret_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge keys and the database's URL stay here; what CUDA and the model cache need passes."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("RLAIFD_STORE__URL", "postgresql://u:canary@h/d")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    body = "answer(state='stopped', reason=json.dumps(dict(os.environ)))"
    reason = Child(train_job(tmp_path), command=script(body)).run().reason
    assert "canary" not in reason
    assert '"CUDA_VISIBLE_DEVICES": "1"' in reason
    assert set(environment({"HF_HOME": "x", "HF_TOKEN": "y", "PGPASSWORD": "z"})) == {"HF_HOME"}
    kernels = {"CC": "/usr/bin/gcc", "TRITON_CACHE_DIR": "/var/cache/triton"}
    assert environment(kernels) == kernels


DAEMON = """
import sys
from pathlib import Path
from daemon.children.child import Child
from policies.training.jobs import TrainJob
out = Path(sys.argv[1])
Child(TrainJob(out=out, base_model="none", snapshot=out / "s", snapshot_id="0" * 64, lock=out / "lock")).run()
"""


def test_a_child_dies_with_a_killed_daemon(tmp_path: Path) -> None:
    """After kill -9 of the supervising process the real child is gone within two seconds."""
    daemon = subprocess.Popen([sys.executable, "-c", DAEMON, str(tmp_path)], env=os.environ)
    try:
        progress = tmp_path / "progress.jsonl"
        wait_for(lambda: progress.exists() and "started" in progress.read_text(encoding="utf-8"))
        listed = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text(encoding="utf-8")
        children = [int(pid) for pid in listed.split()]
        assert len(children) == 1
    finally:
        daemon.kill()
        daemon.wait()
    wait_for(lambda: not alive(children[0]), seconds=2.0)
