"""What the daemon asks the store every second costs about the same however much is waiting there."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from daemon.store import alignment, candidates, evaluations, preferences
from daemon.store.store import Store
from policies.records import Split
from tests.daemon.stages.seeding import Within, add_traces, add_verdicts, at_once
from tests.judges import SMALL

BACKLOG = 3000
MOST_STEPS = 3500
"""Of SQLite's virtual machine; looking at every row of the backlog takes several for each."""


def _steps(store: Store, work: Callable[[Connection], object]) -> int:
    """How many steps of SQLite's virtual machine the work takes."""
    steps = 0

    def tick() -> int:
        nonlocal steps
        steps += 1
        return 0

    def counted(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_progress_handler(tick, 1)
        work(connection)
        driver.set_progress_handler(None, 0)

    store.read(counted)
    return steps


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: candidates.waiting(c, most=8),
        lambda c: preferences.uncurated(c, limit=8),
        lambda c: evaluations.arms(c, 1),
        lambda c: alignment.flip_ratio(c, SMALL, window=8),
        lambda c: alignment.spread(c, SMALL, window=8),
    ],
    ids=["waiting", "uncurated", "arms", "flip_ratio", "spread"],
)
def test_a_backlog_is_not_read_through(sqlite_store: Store, ask: Callable[[Connection], object]) -> None:
    """Unsampled traces, logged answers and verdicts of another kind are passed over by an index."""

    def fill(to: Within) -> None:
        names = [f"trace{number}" for number in range(BACKLOG)]
        ids = add_traces(to, names, Split.TRAIN)
        add_verdicts(to, [{"trace_id": one, "candidate_id": one, "reward": 5.0} for one in ids])

    at_once(sqlite_store, fill)

    assert _steps(sqlite_store, ask) < MOST_STEPS
