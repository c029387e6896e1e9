"""Children that load torch: started, followed, stopped, and never left behind.

The daemon itself never imports torch. A child runs `python -m policies.training.child JOB.json` in a session
of its own with an environment of allowed names only (no judge keys, no database URL), says what it does in
progress.jsonl, and answers in result.json. Its standard input is a pipe that we hold open: when this process
dies, however it dies, the child's input closes and it exits.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar, cast, overload

from pydantic import ValidationError

from daemon.children.launch import blamed, launched, said
from daemon.errors import RlaifdError
from daemon.log import get
from policies import durable
from policies.launch import Launch
from policies.training.jobs import (
    RESULTS,
    AnyJob,
    CompareJob,
    CompareResult,
    GradeJob,
    GradeResult,
    InspectJob,
    InspectResult,
    PlanJob,
    PlanResult,
    Progress,
    SampleJob,
    SampleResult,
    TrainJob,
    TrainResult,
)
from policies.training.layout import JOB, LOG, PROGRESS, RESULT

ALLOWED = frozenset({
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
    "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "XDG_CACHE_HOME",
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "CC",
})  # fmt: skip
ALLOWED_PREFIXES = ("CUDA_", "NVIDIA_", "NCCL_", "OMP_", "MKL_", "PYTORCH_", "TORCH_", "TRITON_")
POLL_S = 0.05
LOG_LINES = 3
LOG_BYTES = 8192

R = TypeVar("R", PlanResult, TrainResult, SampleResult, CompareResult, InspectResult, GradeResult)
log = get("children")


class ChildFailedError(RlaifdError):
    """The child did not do its job. The message says why in one line and names its log."""


class ChildDiedError(ChildFailedError):
    """The child crashed, was killed, or hung until it was: it had no say in it."""


def command(job_file: Path) -> list[str]:
    """How a job is run."""
    return [sys.executable, "-P", "-m", "policies.training.child", str(job_file)]


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What of our environment a child may see."""
    return {
        name: value for name, value in ours.items() if name in ALLOWED or name.startswith(ALLOWED_PREFIXES)
    }


class Child(Generic[R]):
    """One run of one job. `run` blocks until the child is gone; `stop` may be called from any other thread.

    `stall_s`: a child without a line of progress for so long is killed. `grace_s`: from the request to stop
    to the kill. The thread that calls `run` must live until it returns: the child is killed with it.
    """

    @overload
    def __init__(
        self: "Child[PlanResult]", job: PlanJob, *, stall_s: float = ..., grace_s: float = ...,
        on_progress: Callable[[Progress], None] | None = ...,
        command: Callable[[Path], Sequence[str]] = ...,
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self: "Child[TrainResult]", job: TrainJob, *, stall_s: float = ..., grace_s: float = ...,
        on_progress: Callable[[Progress], None] | None = ...,
        command: Callable[[Path], Sequence[str]] = ...,
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self: "Child[SampleResult]", job: SampleJob, *, stall_s: float = ..., grace_s: float = ...,
        on_progress: Callable[[Progress], None] | None = ...,
        command: Callable[[Path], Sequence[str]] = ...,
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self: "Child[CompareResult]", job: CompareJob, *, stall_s: float = ..., grace_s: float = ...,
        on_progress: Callable[[Progress], None] | None = ...,
        command: Callable[[Path], Sequence[str]] = ...,
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self: "Child[InspectResult]", job: InspectJob, *, stall_s: float = ..., grace_s: float = ...,
        on_progress: Callable[[Progress], None] | None = ...,
        command: Callable[[Path], Sequence[str]] = ...,
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self: "Child[GradeResult]", job: GradeJob, *, stall_s: float = ..., grace_s: float = ...,
        on_progress: Callable[[Progress], None] | None = ...,
        command: Callable[[Path], Sequence[str]] = ...,
    ) -> None: ...  # fmt: skip
    def __init__(
        self,
        job: AnyJob,
        *,
        stall_s: float = 600.0,
        grace_s: float = 25.0,
        on_progress: Callable[[Progress], None] | None = None,
        command: Callable[[Path], Sequence[str]] = command,
    ) -> None:
        self._job = job
        self._stall_s = stall_s
        self._grace_s = grace_s
        self._on_progress = on_progress
        self._command = command
        self._stop = threading.Event()
        self._read = 0
        self._launch = job.launch if isinstance(job, TrainJob) else Launch()
        self.pid: int | None = None

    def stop(self) -> None:
        """Asks the child to leave a checkpoint and end. Returns at once; `run` answers when it has."""
        self._stop.set()

    def run(self) -> R:
        """Runs the job. Raises ChildFailedError when it fails, crashes, hangs, or was stopped with nothing to
        show; a training that left a checkpoint or was halted by its guards answers its result.
        """
        out = self._job.out
        out.mkdir(parents=True, exist_ok=True)
        (out / RESULT).unlink(missing_ok=True)
        durable.write(out / JOB, f"{self._job.model_dump_json(indent=1)}\n".encode())
        progress = out / PROGRESS
        self._read = progress.stat().st_size if progress.exists() else 0
        with (out / LOG).open("ab") as output:
            process = subprocess.Popen(
                launched(self._command(out / JOB), self._launch),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=out,
                env=environment(os.environ),
                start_new_session=True,
            )
        self.pid = process.pid
        log.info("child_started", kind=self._job.kind, pid=process.pid, directory=str(out))
        try:
            why = self._follow(process)
        finally:
            _end_group(process)
            if process.stdin is not None:
                process.stdin.close()
        self._tell()
        log.info("child_ended", kind=self._job.kind, pid=process.pid, code=process.returncode)
        return self._result(process.returncode, why)

    def _follow(self, process: "subprocess.Popen[bytes]") -> str | None:
        """Waits until the child has ended by itself, or must be ended; returns why it must, or None."""
        last = time.monotonic()
        asked: float | None = None
        while not _has_ended(process.pid):
            now = time.monotonic()
            if self._tell():
                last = now
            if self._stop.is_set() and asked is None:
                asked = now
                process.terminate()
            if asked is not None and now - asked > self._grace_s:
                return f"did not end within {self._grace_s:g} s of being asked"
            if now - last > self._stall_s:
                return f"reported no progress for {self._stall_s:g} s"
            time.sleep(POLL_S)
        return None

    def _tell(self) -> bool:
        """Passes on the new lines of progress; False if there are none."""
        try:
            with (self._job.out / PROGRESS).open("rb") as file:
                file.seek(self._read)
                fresh = file.read()
        except FileNotFoundError:
            return False
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            try:
                progress = Progress.model_validate_json(line)
            except ValidationError:
                log.warning("progress_unreadable", directory=str(self._job.out))
                continue
            if self._on_progress is not None:
                self._on_progress(progress)
        return bool(whole)

    def _result(self, code: int, why: str | None) -> R:
        path = self._job.out / RESULT
        told = code == 0 or self._launch.processes > 1  # a launcher that ended the others says 1
        if why is None and told and path.exists():
            result = RESULTS.validate_json(path.read_bytes())
            if result.kind != self._job.kind:
                raise ChildFailedError(f"{path}: a result of kind {result.kind} to a {self._job.kind} job")
            if result.state == "failed" or (result.state == "stopped" and result.kind != "train"):
                raise ChildFailedError(f"{self._job.kind} {result.state}: {result.reason}")
            return cast(R, result)
        log_file = self._job.out / LOG
        text = end_of(log_file)
        first = blamed(text) if self._launch.processes > 1 else None
        if first is not None:
            why = why or f"{how_ended(first[1])} in process {first[0]}"
            text = said(text)
        tail = one_line(text)
        raise ChildDiedError(
            f"the {self._job.kind} child {why or how_ended(code)}{': ' if tail else ''}{tail} "
            f"(log: {log_file})"
        )


def end_of(path: Path) -> str:
    """The end of a log, "" where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_BYTES))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def one_line(text: str) -> str:
    """A log's last lines, on one."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-LOG_LINES:])[-600:]


def _has_ended(pid: int) -> bool:
    """Whether the child has ended; it is not reaped, so that its number, and its group's, stay its own."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kills whatever is left of the child's group, and reaps the child."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        log.debug("group_gone", pid=process.pid)
    process.wait()


def how_ended(code: int) -> str:
    """What an exit code says, after the name of what ended."""
    return f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
