"""A store that is not what the manifest says is told, figure by figure."""

import json
from collections.abc import Sequence
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
from tests.connectors.decoders.events import native
from tests.soak.manifest import Manifest, accounts

POISON = {"poison": 1}


def stored(store: Store, *records: Any) -> None:
    source = MemorySource()
    for record in records:
        source.append(json.dumps(record).encode())
    stage = Ingest(
        source=source,
        decoders=Decoders(),
        store=store,
        metrics=Metrics(),
        clock=FakeClock(),
        rule=IntakeRule(Splits(), dead_letter_ratio=1.0),
    )
    while stage.step(0.0):
        pass


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([native(0), native(1), native(1), POISON], {}),
        ([native(0), native(0), native(0), POISON], {"lost": 1, "miscounted": 2}),
        ([native(0), native(1), native(1), native(2)], {"lost": 1, "miscounted": 2}),
        ([native(0), native(1), native(1, tags={"a": "b"}), POISON], {"doubled": 1, "miscounted": 2}),
        ([native(0), native(1), POISON, POISON], {"doubled": 1, "miscounted": 2}),
        ([native(0), native(1), POISON], {"miscounted": 2}),
    ],
    ids=["all", "an event", "a dead letter", "an event twice", "a dead letter twice", "a record"],
)
def test_what_is_missing_or_too_much_is_told(
    sqlite_store: Store, records: Sequence[Any], found: dict[str, int]
) -> None:
    """Of four records: two events, one of them said again, and one that no decoder knows."""
    stored(sqlite_store, *records)
    manifest = Manifest(events=["e-0", "e-1"], poison=1)
    told = sqlite_store.read(lambda c: accounts(c, manifest, 4))
    nothing = {"lost": 0, "doubled": 0, "miscounted": 0}
    assert told == {"records": len(records)} | nothing | found
