"""What the store knows of training runs."""

import pytest

from daemon.store import preferences, runs
from daemon.store.snapshots import Held
from daemon.store.store import Store
from policies.training.layout import TrainState


def ended(store: Store, run: str, *, at: float, state: TrainState) -> None:
    """A run that started then and ended so."""
    store.write(lambda c: runs.begin(c, run=run, snapshot_id="s", recipe={}, parent=None, pid=1, now=at))
    store.write(lambda c: runs.end(c, run, state=state, reason="", now=at + 1))


@pytest.mark.parametrize(
    ("state", "learned"), [("failed", 10.0), ("stopped", 10.0), ("halted", 20.0), ("unchanged", 20.0)]
)
def test_preferences_of_a_run_that_failed_are_still_new(
    store: Store, state: TrainState, learned: float
) -> None:
    """A run that did not see them to the end does not use its preferences up, so that it is tried again; one
    that changed nothing would change nothing again.
    """
    store.write(lambda c: preferences.store_snapshot(c, "s", "s.jsonl", Held([1]), note="", now=1.0))
    ended(store, "r1", at=10.0, state="done")
    ended(store, "r2", at=20.0, state=state)
    assert store.read(runs.last_start) == 20.0
    assert store.read(runs.last_learned) == learned
