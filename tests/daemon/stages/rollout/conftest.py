"""Stores and files for the rollout's tests."""

from pathlib import Path

import pytest

from daemon.store.store import Store
from tests.daemon.stages.rollout.world import World


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    """On both databases, with the target in memory."""
    return World(store, tmp_path)


@pytest.fixture
def small(sqlite_store: Store, tmp_path: Path) -> World:
    """On SQLite only, for what does not depend on the database."""
    return World(sqlite_store, tmp_path)
