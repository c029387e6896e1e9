"""Stores in which training is due, or waits for something."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon.clock import FakeClock
from daemon.store.tables import EvaluationRow, RewardModelRow, RunRow
from daemon.wiring.parts import Wiring
from policies.recipes import DpoRecipe
from tests.daemon.configuration import TEXT, settings
from tests.daemon.stages.seeding import add_adapter, put

COOLING = TEXT.replace("...\n", "training: {cooldown_s: 600, min_new_preferences: 70}\n...\n")
ASKED = DpoRecipe().model_dump(mode="json")
NAMES = [f"p{number}" for number in range(70)]


@contextmanager
def wired(directory: Path, text: str, clock: FakeClock) -> Iterator[Wiring]:
    """A daemon's parts on an empty store."""
    parts = Wiring(settings(directory, text), clock)
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    yield parts
    parts.close()


def a_run(parts: Wiring, name: str, snapshot: str, **columns: Any) -> None:
    values = {"state": "done", "step": 1, "reason": "", "recipe": {}, "started_at": 1.0, **columns}
    put(parts.store, RunRow, id=name, snapshot_id=snapshot, **values)


def rejected(parts: Wiring, adapter: str, *, at: float = 2.0) -> None:
    add_adapter(parts.store, adapter)
    verdict = {"state": "decided", "decision": "reject", "reasons": [], "evidence": {}, "epoch": 0}
    put(parts.store, EvaluationRow, adapter=adapter, created_at=at, decided_at=at, **verdict)


def released(parts: Wiring, run: str, *, at: float, **columns: Any) -> None:
    fixed = {"digest": "d", "base_model": "b", "manifest": {}, "reasons": [], "labels": 60}
    row = {"name": "m", "run_id": run, "state": "release", "created_at": at, "decided_at": at}
    put(parts.store, RewardModelRow, **{**fixed, **row, **columns})
