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
from typing import Any, Final

from sqlalchemy import Connection, insert, text

from daemon.clock import FakeClock
from daemon.store.schema import upgrade
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, JudgementRow, PreferenceRow, TraceRow, VerdictRow
from daemon.wiring import Wiring
from tests.daemon.configuration import settings
from tests.daemon.stages.seeding import add_labelled, at_once, table
from tests.rowsread import MeasuredStore
from tests.servers.postgres import SETTINGS, Postgres, binaries, private
from tests.soak.bounds import Bounds, Figures, within

FIRST: Final = 1_000
ALL: Final = 1_000_000
AT_ONCE: Final = 10_000
LABELLED: Final = 200
LOOKS: Final = 7
SPLITS: Final = ("train",) * 14 + ("audit", "calibrate") + ("gate",) * 4
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
    """Events with their logged answer, judged by the small judge; the last ones wait for it."""
    numbers = range(start, end)
    rows: dict[type[Any], list[dict[str, Any]]] = {
        TraceRow: [_trace(number) for number in numbers],
        CandidateRow: [_answer(number) for number in numbers],
        JudgementRow: [_judgement(number) for number in numbers],
        VerdictRow: [_verdict(number) for number in numbers],
        PreferenceRow: [_preference(number) for number in numbers if number % 3 == 0],
    }

    def work(connection: Connection) -> None:
        for row, values in rows.items():
            connection.execute(insert(table(row)), values)

    store.write(work)


OFFSET: Final = 1_000_000_000
"""The rows' own numbers are far from those of the labelled pairs."""


def _trace(number: int) -> dict[str, Any]:
    split = SPLITS[number % len(SPLITS)]
    done = None if number % 50 == 0 else NOW - 1e6 + number
    return {
        "id": OFFSET + number,
        "source": "agent",
        "event_id": f"e{number}",
        "revision": 0,
        "split": split,
        "digest": f"d{number}",
        "cluster": f"c{number}",
        "ts": float(number),
        "stored_at": NOW,
        "subject": f"s{number % 5000}",
        "payload": {},
        "planned_at": NOW,
        "sampled_at": done,
        "curated_at": done,
    }


def _answer(number: int) -> dict[str, Any]:
    of = {"id": OFFSET + number, "trace_id": OFFSET + number, "origin": "logged", "adapter": "", "batch": ""}
    return {**of, "sample": 0, "output": [], "text": "answer", "truncated": False, "created_at": NOW}


def _shared(number: int) -> dict[str, Any]:
    of = {"id": OFFSET + number, "trace_id": OFFSET + number, "candidate_id": OFFSET + number}
    return {**of, "role": "small", "kind": "score", "purpose": "traffic", "created_at": NOW - 1e6 + number}


def _judgement(number: int) -> dict[str, Any]:
    state = "open" if number % 10 == 0 else "done"
    return {**_shared(number), "key": f"k{number}", "state": state, "attempts": 1, "not_before": 0.0}


def _verdict(number: int) -> dict[str, Any]:
    said = {"judgement_id": OFFSET + number, "judge": "small", "family": "gpt", "version": "v1", "scores": {}}
    return {**_shared(number), **said, "adapter": "", "reward": 5.0, "flipped": False, "critique": "fine",
            "probability": 1.0, "cost_usd": 0.0}  # fmt: skip


def _preference(number: int) -> dict[str, Any]:
    one = OFFSET + number
    pair = {"chosen_id": one, "rejected_id": one + 1, "margin": 3.0, "difference": 1.0, "verdict_ids": []}
    whose = {"trace_id": one, "cluster": f"c{number}", "contributor": f"subject:s{number % 5000}"}
    return {**whose, **pair, "weight": 1.0, "soft": 0.9, "created_at": NOW - 1e6 + number}
