"""The status on a thousand and on a million verdicts, on SQLite and, where it can be had, on PostgreSQL.

What is measured is the object that `/`, `/api/v1/status` and `rlaifd status` show: its seconds, and what the
database read for it.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text

from daemon.clock import FakeClock
from daemon.store.schema import upgrade
from daemon.store.store import Store
from daemon.wiring.parts import Wiring
from tests.daemon.configuration import settings
from tests.daemon.stages.seeding import add_labelled, at_once
from tests.rowsread import MeasuredStore
from tests.servers.postgres import SETTINGS, Postgres, binaries, private
from tests.soak.bounds import Bounds, Figures, within

FIRST: Final = 1_000
ALL: Final = 1_000_000
AT_ONCE: Final = 100_000
LABELLED: Final = 200
LOOKS: Final = 7
NOW: Final = 1_700_000_000.0


def run() -> Figures:
    """Milliseconds and reads at both sizes. Raises BoundsBrokenError."""
    figures: Figures = {}
    bounds: dict[str, tuple[float, float]] = {}
    for backend, url in _databases():
        figures |= _measured(backend, url)
        bounds |= _bounds(backend)
    return within(figures, bounds)


def _bounds(backend: str) -> Bounds:
    """The million reads hardly more: windows that a thousand does not fill are of one size beyond it."""
    return {f"status_{backend}_reads_ratio": (0.0, 8.0), f"status_{backend}_million_ms": (0.0, 100.0)}


def _databases() -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        yield "sqlite", f"sqlite:///{Path(folder) / 'rlaifd.db'}"
    if binaries() is not None:
        for server in private(SETTINGS):
            yield "postgresql", Postgres(server.url, server).create()


def _measured(backend: str, url: str) -> Figures:
    store = MeasuredStore(url)
    upgrade(store)
    with _parts(store) as parts, _parts(Store(url)) as unmeasured:
        at_once(store, lambda to: add_labelled(to, {f"pair{each}": True for each in range(LABELLED)}))
        figures: Figures = {}
        done = 0
        for name, events in (("thousand", FIRST), ("million", ALL)):
            for start in range(done, events, AT_ONCE):
                _fill(store, start, min(events, start + AT_ONCE))
            done = events
            if not store.is_sqlite:
                with store.engine.connect() as connection:
                    connection.execute(text("ANALYZE"))
                    connection.commit()
            figures[f"status_{backend}_{name}_reads"] = store.measure(parts.status)
            figures[f"status_{backend}_{name}_ms"] = _milliseconds(unmeasured)
        few, many = (figures[f"status_{backend}_{name}_reads"] for name in ("thousand", "million"))
        return {**figures, f"status_{backend}_reads_ratio": many / few}


def _milliseconds(parts: Wiring) -> float:
    """The median of some looks. Counting what SQLite reads takes longer than reading it."""
    took = []
    for _ in range(LOOKS):
        started = time.perf_counter()
        parts.status()
        took.append(time.perf_counter() - started)
    return 1_000 * statistics.median(took)


@contextmanager
def _parts(store: Store) -> Iterator[Wiring]:
    with tempfile.TemporaryDirectory() as folder:
        parts = Wiring(settings(Path(folder)), FakeClock(NOW))
        parts.store = store
        try:
            yield parts
        finally:
            parts.close()


def _fill(store: MeasuredStore, start: int, end: int) -> None:
    """Events with their logged answer, judged by the small judge; every tenth waits for it. The database
    makes the rows, so that a million of each take a minute or two.
    """
    first, further = "SELECT CAST(:start AS INTEGER)", "SELECT i + 1 FROM n WHERE i + 1 < :end"
    numbers = f"WITH RECURSIVE n(i) AS ({first} UNION ALL {further})"

    def work(connection: Connection) -> None:
        for name, columns in TABLES.items():
            where = " WHERE i % 3 = 0" if name == "preference" else ""
            names = ", ".join(f'"{column}"' for column in columns)
            values = ", ".join(columns.values())
            statement = f"{numbers} INSERT INTO {name} ({names}) SELECT {values} FROM n{where}"  # noqa: S608 - own
            connection.execute(text(statement), {"start": start, "end": end})

    Store.write(store, work)


ID: Final = "1000000000 + i"
"""The rows' own numbers are far from those of the labelled pairs."""
AT: Final = f"{NOW - 1e6} + i"
DONE: Final = f"CASE WHEN i % 50 = 0 THEN NULL ELSE {AT} END"
SPLIT: Final = (
    "CASE WHEN i % 20 < 14 THEN 'train' WHEN i % 20 = 14 THEN 'audit' WHEN i % 20 = 15 THEN 'calibrate' "
    "ELSE 'gate' END"
)
SHARED: Final = {
    "id": ID,
    "trace_id": ID,
    "candidate_id": ID,
    "role": "'small'",
    "kind": "'score'",
    "purpose": "'traffic'",
    "probability": "1.0",
    "created_at": AT,
}
TABLES: Final[dict[str, dict[str, str]]] = {
    "trace": {
        "id": ID,
        "source": "'agent'",
        "event_id": "'e' || i",
        "revision": "0",
        "digest": "'d' || i",
        "cluster": "'c' || i",
        "split": SPLIT,
        "ts": "i",
        "stored_at": str(NOW),
        "payload": "'{}'",
        "subject": "'s' || (i % 5000)",
        "planned_at": str(NOW),
        "sampled_at": DONE,
        "curated_at": DONE,
    },
    "candidate": {
        "id": ID,
        "trace_id": ID,
        "origin": "'logged'",
        "adapter": "''",
        "batch": "''",
        "sample": "0",
        "output": "'[]'",
        "text": "'answer'",
        "created_at": str(NOW),
    },
    "judgement": {
        **SHARED,
        "key": "'k' || i",
        "state": "CASE WHEN i % 10 = 0 THEN 'open' ELSE 'done' END",
        "attempts": "1",
        "not_before": "0.0",
    },
    "verdict": {
        **SHARED,
        "judgement_id": ID,
        "judge": "'small'",
        "family": "'gpt'",
        "version": "'v1'",
        "adapter": "''",
        "reward": "5.0",
        "flipped": "false",
        "scores": "'{}'",
        "critique": "'fine'",
        "cost_usd": "0.0",
    },
    "preference": {
        "trace_id": ID,
        "cluster": "'c' || i",
        "contributor": "'subject:s' || (i % 5000)",
        "chosen_id": ID,
        "rejected_id": f"{ID} + 1",
        "margin": "3.0",
        "difference": "1.0",
        "weight": "1.0",
        "soft": "0.9",
        "verdict_ids": "'[]'",
        "created_at": AT,
    },
}
