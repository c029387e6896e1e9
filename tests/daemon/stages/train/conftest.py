"""A trainer that a test gives work."""

from pathlib import Path

import pytest

from daemon.clock import FakeClock
from daemon.store.store import Store
from tests.daemon.stages.train.bench import Bench


@pytest.fixture
def bench(store: Store, tmp_path: Path, clock: FakeClock) -> Bench:
    return Bench(store, tmp_path / "state", clock)
