"""An ingest stage with a source in memory."""

from typing import Any

import pytest

from connectors.decoders.detect import Decoders
from connectors.memory import MemorySource
from daemon.clock import FakeClock
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.ingest import Ingest
from daemon.stages.ingest.intake import IntakeRule
from daemon.store.store import Store
from policies.policy import Splits
from tests.daemon.stages.ingest.intake import Make


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def make(store: Store, clock: FakeClock, metrics: Metrics, source: MemorySource) -> Make:
    """Makes a started stage over the store."""

    def made(**options: Any) -> Ingest:
        others: dict[str, Any] = {name: options.pop(name) for name in ("source", "brake") if name in options}
        rule = IntakeRule(**{"splits": Splits(), **options})
        given: dict[str, Any] = {"source": source, "rule": rule, **others}
        stage = Ingest(decoders=Decoders(), store=store, metrics=metrics, clock=clock, **given)
        stage.start()
        return stage

    return made
