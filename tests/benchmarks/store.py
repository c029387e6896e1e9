"""What a batch is worth: rows a second of one Core insert of 500 rows against one transaction a row."""

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, Table, insert, inspect

from daemon.store.schema import upgrade
from daemon.store.store import Store
from daemon.store.tables import TraceRow

TRACE = cast(Table, inspect(TraceRow).local_table)
BATCH = 500
BATCHES = 4
SINGLES = 150
ROUNDS = 5
BODY = "The parcel left the depot this morning and should be with you by Thursday. " * 24


def run() -> dict[str, float]:
    """Both ways in turn on one SQLite file (WAL, synchronous=FULL): the median of the rounds' ratios."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{Path(folder) / 'bench.db'}")
        upgrade(store)
        ratios = [_batched(store, number) / _single(store, number) for number in range(ROUNDS)]
        store.close()
    return {"store_batch_vs_single_ratio": statistics.median(ratios)}


def _batched(store: Store, number: int) -> float:
    batches = [_rows(f"batch-{number}-{batch}", BATCH) for batch in range(BATCHES)]
    return BATCH * BATCHES / _seconds(store, batches)


def _single(store: Store, number: int) -> float:
    return SINGLES / _seconds(store, [[row] for row in _rows(f"single-{number}", SINGLES)])


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    connection.execute(insert(TRACE), rows)


def _rows(prefix: str, count: int) -> list[dict[str, Any]]:
    return [
        {
            "source": "agent",
            "event_id": f"{prefix}-{number}",
            "revision": 0,
            "digest": f"{prefix}-{number}",
            "cluster": f"{number % 40}",
            "split": "train",
            "ts": float(number),
            "stored_at": float(number),
            "payload": {"messages": [{"role": "user", "content": BODY}]},
        }
        for number in range(count)
    ]


def _seconds(store: Store, transactions: list[list[dict[str, Any]]]) -> float:
    started = time.perf_counter()
    for rows in transactions:
        store.write(partial(_insert, rows=rows))
    return time.perf_counter() - started
