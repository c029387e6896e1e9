"""The child process: `python -m policies.training.child JOB.json`.

It reads the job, holds the training lock, works, and writes `result.json` beside the job file. It exits at
once when its standard input closes or its parent dies, so that it never outlives a killed daemon; on SIGTERM
it leaves a checkpoint and says `stopped`. Standard output and error are only a log. Exit code: 0 with a
result, whatever it says; anything else is a crash, which the log explains.

A training of several processes is this module in each of them, under a launcher. The first alone holds the
lock, reports and writes; another speaks only where it is the one that cannot go on.
"""

import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from policies import durable
from policies.snapshot import SnapshotError
from policies.training.errors import JobError, StoppedError
from policies.training.jobs import (
    JOBS,
    AnyJob,
    AnyResult,
    CompareJob,
    CompareResult,
    GradeJob,
    GradeResult,
    InspectJob,
    InspectResult,
    PlanJob,
    PlanResult,
    SampleJob,
    SampleResult,
    TrainJob,
    TrainResult,
)
from policies.training.layout import PROGRESS, RESULT
from policies.training.place import Place, here
from policies.training.progress import Reporter
from policies.training.turn import DOES, LockedError, held

if TYPE_CHECKING:
    from collections.abc import Callable

PR_SET_PDEATHSIG = 1
ORPHANED = 75
"""Exit code of a child whose parent is gone."""
FAILED = 70
"""Exit code of one of several processes that cannot go on: the launcher then ends the others."""

RESULT_OF = {
    "plan": PlanResult,
    "train": TrainResult,
    "sample": SampleResult,
    "compare": CompareResult,
    "inspect": InspectResult,
    "grade": GradeResult,
}
M_MMAP_THRESHOLD = -3
MAPPED_BYTES = 1 << 20
"""Blocks from this size on are mapped, and given back to the system when they are free."""


def main(arguments: list[str]) -> int:
    """Runs the job file named by the only argument."""
    gc.disable()  # what imports make stays: to look through it again and again takes a quarter of their time
    _die_with_parent()
    _give_back_memory()
    job = JOBS.validate_json(Path(arguments[0]).read_bytes())
    place = here()
    _environment(job, place)
    with Reporter(job.out / PROGRESS if place.leads else Path(os.devnull)) as reporter:
        stop = _stop_on_request(job, reporter, place)
        reporter.report("started", note=job.kind)
        result = _run(job, reporter, stop.is_set)
        failed = result.state == "failed"
        if place.leads or failed:
            durable.write(job.out / RESULT, result.model_dump_json().encode())
        reporter.report("done", note=f"{result.state} {result.reason}".strip())
    return FAILED if failed and not place.alone else 0


def _stop_on_request(job: AnyJob, reporter: Reporter, place: Place) -> threading.Event:
    """On SIGTERM a training that has begun is asked to leave a checkpoint; anything else ends at once."""
    stop = threading.Event()

    def on_term(*_: object) -> None:
        if isinstance(job, TrainJob) and reporter.ready:
            stop.set()
            return
        if place.leads:
            durable.write(
                job.out / RESULT,
                RESULT_OF[job.kind](state="stopped", reason="asked to stop").model_dump_json().encode(),
            )
        os._exit(0)

    signal.signal(signal.SIGTERM, on_term)
    return stop


def _run(job: AnyJob, reporter: Reporter, stopping: "Callable[[], bool]") -> AnyResult:
    """The result, also where the job could not be done for a reason that can be told."""
    failed = RESULT_OF[job.kind]
    try:
        return _done(job, reporter, stopping)
    except StoppedError as error:
        return failed(state="stopped", reason=str(error))
    except (SnapshotError, JobError, LockedError) as error:
        return failed(state="failed", reason=str(error))


def _done(job: AnyJob, reporter: Reporter, stopping: "Callable[[], bool]") -> AnyResult:
    """Does the job. Raises StoppedError, SnapshotError, JobError and LockedError."""
    work = _work(job, reporter, stopping)
    gc.freeze()
    gc.enable()
    if isinstance(job, PlanJob | InspectJob):
        return work()
    with _alone(job, reporter):
        return work()


def _work(job: AnyJob, reporter: Reporter, stopping: "Callable[[], bool]") -> "Callable[[], AnyResult]":
    """What does the job, imported here: the environment must be set before torch is, a broken job needs no
    torch to say so, and no kind of job needs all.
    """
    if isinstance(job, PlanJob):
        from policies.training.lesson import run_plan

        return partial(run_plan, job)
    if isinstance(job, InspectJob):
        from policies.training.inspection import run_inspect

        return partial(run_inspect, job)
    if isinstance(job, GradeJob):
        from policies.training.grading import run_grade

        return partial(run_grade, job, reporter, stopping)
    if isinstance(job, TrainJob):
        from policies.training.run import train

        return partial(train, job, reporter, stopping)
    from policies.training.compare import run_compare, run_sample

    if isinstance(job, SampleJob):
        return partial(run_sample, job, reporter, stopping)
    return partial(run_compare, job, reporter, stopping)


@contextmanager
def _alone(job: TrainJob | SampleJob | CompareJob | GradeJob, reporter: Reporter) -> Iterator[None]:
    """Holds what this job may not share: a training its lock, and whoever needs it the device. Of several
    processes the first holds both for all. Raises LockedError.
    """
    from policies.training.model import device

    with ExitStack() as stack:
        if here().leads:
            if isinstance(job, TrainJob):
                stack.enter_context(held(job.lock, DOES[job.kind], wait_s=job.lock_wait_s))
            if job.turn is not None and device.taken_in_turns(job.turns, job.device):
                stack.enter_context(
                    held(
                        job.turn,
                        DOES[job.kind],
                        waiting=lambda does: reporter.report("waiting", note=f"{does} has the device"),
                    )
                )
        yield


def _environment(job: AnyJob, place: Place) -> None:
    """Set before torch and the hub's client are imported: they read these once."""
    threads = str(job.threads)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = threads
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["TQDM_DISABLE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    if Path(job.base_model).is_dir():
        os.environ["HF_HUB_OFFLINE"] = "1"
    if job.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif place.alone:
        # One process drives one device; the trainer refuses to see several.
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


def _die_with_parent() -> None:
    """Two ropes: standard input closes when the parent is gone, and Linux sends SIGKILL when it dies."""
    threading.Thread(target=_watch_input, daemon=True, name="parent-watch").start()
    die_with_parent()


def die_with_parent() -> None:
    """Has Linux send SIGKILL when the thread that started this process is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _give_back_memory() -> None:
    """Asks the C library to map large blocks, which it gives back at once when they are free.

    Left to itself glibc takes blocks of up to 32 MB from a heap that they cut up: the peak of a training was
    a quarter higher so, and stayed.
    """
    library = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)


def _watch_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
