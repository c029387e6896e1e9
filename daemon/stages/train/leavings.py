"""What runs leave in the state directory, and which of it a run that was cut off can still go on from.

A checkpoint holds optimiser state: gigabytes of a real model. Only the newest run that can go on keeps its.
"""

import shutil
import time
from pathlib import Path

from daemon.store import runs
from daemon.store.runs import StoredRun
from daemon.store.store import Store
from policies.training.layout import CHECKPOINTS

ATTEMPTS = 3
"""How often a run that ended at the same step by a crash is taken up before a new one is begun."""
YOUNG_S = 60.0
"""A directory without a row may be of a run that another process is just beginning."""


def resumable(run: StoredRun) -> bool:
    """Whether the run can be taken up: it was stopped, or did not crash too often without a step forward."""
    least = 0 if run.state == "stopped" else ATTEMPTS
    attempts = int((run.result or {}).get("attempts", least))
    return attempts < ATTEMPTS


class Leavings:
    """The runs' directories under `folder`, one for each run of this machine."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder

    def resumable(self) -> StoredRun | None:
        """The newest run that was cut off, left a checkpoint here, and can go on; None where one is under way
        or none can.
        """
        if self._store.read(runs.running):
            return None
        cut_off = self._store.read(runs.cut_off)
        return next((run for run in cut_off if resumable(run) and self._has_checkpoint(run.id)), None)

    def sweep(self) -> list[str]:
        """Removes checkpoints of runs that nobody will go on from, and directories of which no run is known.
        Answers their names.
        """
        if not self._folder.is_dir():
            return []
        keep = self._kept()
        swept = []
        for directory in sorted(self._folder.iterdir()):
            run = self._store.read(lambda c, name=directory.name: runs.get(c, name))  # type: ignore[misc]
            if run is None and _age_s(directory) > YOUNG_S:
                shutil.rmtree(directory, ignore_errors=True)
                swept.append(directory.name)
            elif run is not None and run.id not in keep and (directory / CHECKPOINTS).exists():
                shutil.rmtree(directory / CHECKPOINTS, ignore_errors=True)
                swept.append(f"{directory.name}/{CHECKPOINTS}")
        return swept

    def _kept(self) -> set[str]:
        """Those under way, and the newest of those that can go on; once another run learned, none of them."""
        under_way = {run.id for run in self._store.read(runs.under_way)}
        can = [
            run.id
            for run in self._store.read(runs.cut_off)
            if resumable(run) and self._has_checkpoint(run.id)
        ]
        return under_way | set(can[:1])

    def _has_checkpoint(self, run: str) -> bool:
        folder = self._folder / run / CHECKPOINTS
        return folder.is_dir() and any(folder.iterdir())


def _age_s(directory: Path) -> float:
    try:
        return time.time() - directory.stat().st_mtime
    except OSError:
        return 0.0
