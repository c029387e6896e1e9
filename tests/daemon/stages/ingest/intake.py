"""What the ingest tests put into a stage, and how they see what came out."""

import json
from collections.abc import Callable

from sqlalchemy import text

from connectors.base import Partition
from daemon.stages.ingest.ingest import Ingest
from daemon.store.store import Store

T = Partition("t", 0)
Make = Callable[..., Ingest]


def raw(event: object) -> bytes:
    """A record of the event, or of a list of events."""
    return json.dumps(event).encode()


def drain(stage: Ingest) -> int:
    """Steps until a step finds nothing; returns how many records were done."""
    done = 0
    while step := stage.step(0.0):
        done += step
    return done


def rows(store: Store, table: str) -> int:
    """How many rows the table has."""
    count = store.read(lambda c: c.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608
    return int(count)
