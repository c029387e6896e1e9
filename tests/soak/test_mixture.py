"""The soak's mixture, small, and that what is missing from it would be told."""

import random

import pytest
from sqlalchemy import delete, insert, select

from daemon.metrics.registry import Metrics
from daemon.store.store import Store
from daemon.store.traces import CANDIDATE, DEAD_LETTER, TRACE
from tests.servers.kafka import Broker
from tests.soak.mixture import BREAKERS, EVENTS, differences, mixed, once


@pytest.mark.alone
@pytest.mark.kafka
def test_a_mixture_is_told_apart_to_the_last_event(kafka_broker: Broker, sqlite_store: Store) -> None:
    """Through the real broker: ids, revisions, repetitions, refused bytes and why, and what is skipped."""
    found, manifest = once(kafka_broker, sqlite_store, 500, seed=1)
    assert set(found.values()) == {0}
    assert len(manifest.dead) == len(BREAKERS)
    assert (manifest.duplicates, manifest.skipped["no_model_call"]) == (15, 20)
    assert manifest.revised
    with sqlite_store.engine.begin() as connection:
        letter = connection.scalar(select(DEAD_LETTER.c.id).limit(1))
        connection.execute(delete(DEAD_LETTER).where(DEAD_LETTER.c.id == letter))
        newest = connection.scalar(select(TRACE.c.id).order_by(TRACE.c.id.desc()))
        connection.execute(delete(CANDIDATE).where(CANDIDATE.c.trace_id == newest))
        connection.execute(delete(TRACE).where(TRACE.c.id == newest))
        row = connection.execute(select(TRACE).limit(1)).one()._asdict()
        connection.execute(insert(TRACE).values({**row, "id": newest, "revision": 7, "digest": "x"}))
        broken = differences(connection, manifest, Metrics())
    assert (broken["lost"], broken["doubled"], broken["dead_lost"], broken["misskipped"]) == (1, 1, 1, 2)


def test_the_whole_mixture_is_the_issue_s() -> None:
    """Of 10,000 events 200 are broken, 300 said again, 50 revised and 400 spans no calls of a model."""
    manifest = mixed(EVENTS, random.Random(0))
    assert len(manifest.dead) == 200
    assert manifest.duplicates == 300
    assert manifest.skipped["no_model_call"] == 400
    assert len(manifest.revised) == pytest.approx(50, abs=1)
