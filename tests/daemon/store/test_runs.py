"""What the store knows of training runs."""

from typing import Literal

import pytest

from daemon.store import preferences, runs
from daemon.store.store import Store


def ended(
    store: Store, run: str, *, at: float, state: Literal["done", "failed", "halted", "stopped"]
) -> None:
    """A run that started then and ended so."""
    store.write(lambda c: runs.begin(c, run=run, snapshot_id="s", recipe={}, parent=None, pid=1, now=at))
    store.write(lambda c: runs.end(c, run, state=state, reason="", now=at + 1))


@pytest.mark.parametrize(("state", "learned"), [("failed", 10.0), ("stopped", 10.0), ("halted", 20.0)])
def test_preferences_of_a_run_that_failed_are_still_new(
    store: Store, state: Literal["failed", "stopped", "halted"], learned: float
) -> None:
    """A run that learned nothing does not use its preferences up, so that it is tried again."""
    store.write(lambda c: preferences.store_snapshot(c, "s", "s.jsonl", [1], note="", now=1.0))
    ended(store, "r1", at=10.0, state="done")
    ended(store, "r2", at=20.0, state=state)
    assert store.read(runs.last_start) == 20.0
    assert store.read(runs.last_learned) == learned
