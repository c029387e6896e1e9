"""An adapter to be judged, with the prompts and labels that this takes."""

import pytest

from daemon.clock import FakeClock
from daemon.store.store import Store
from tests.daemon.stages.gate.world import NAME, World, seeded
from tests.daemon.stages.seeding import add_adapter


@pytest.fixture
def world(store: Store, clock: FakeClock) -> World:
    """Twenty gate prompts, thirty labelled audit prompts, one published adapter."""
    seeded(store)
    add_adapter(store, NAME)
    return World(store, clock)


@pytest.fixture
def bare(store: Store, clock: FakeClock) -> World:
    """One published adapter, and nothing else."""
    add_adapter(store, NAME)
    return World(store, clock)
