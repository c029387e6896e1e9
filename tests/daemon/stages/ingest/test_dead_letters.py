"""What cannot be stored is put aside with its reason."""

import hashlib
import random
from typing import Any

import pytest
from sqlalchemy import text

from connectors.decoders.detect import Decoders
from connectors.memory import MemorySource
from daemon.stages.ingest.bad_rows import store_isolated
from daemon.stages.ingest.ingest import MAX_BODY
from daemon.store import traces
from daemon.store.store import Store
from daemon.store.traces import Arrival, Counts
from policies.policy import Splits
from policies.records import Trace
from tests.connectors.decoders.events import native
from tests.daemon.stages.ingest.intake import Make, T, drain, raw


def test_one_bad_row_is_found_and_put_aside(
    store: Store, source: MemorySource, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that the database refuses becomes a dead letter with the reason; the other 499 are stored."""
    whole = traces._trace_row

    def row(trace: Trace, *rest: Any) -> dict[str, Any]:
        made = whole(trace, *rest)
        return made | {"ts": None} if trace.id in {"e-250", "e-900"} else made

    monkeypatch.setattr(traces, "_trace_row", row)
    for number in range(499):
        source.append(raw(native(number)))
    source.append(raw([native(899), native(900), native(901)]))
    stage = make()
    assert drain(stage) == 500
    assert stage.totals == Counts(records=500, stored=500, dead_letters=2)
    dead = store.read(
        lambda c: c.execute(
            text('SELECT "offset", "index", reason, body FROM dead_letter ORDER BY "offset"')
        ).all()
    )
    assert [(row[0], row[1]) for row in dead] == [(250, 0), (499, 1)]
    assert all("the store refused it" in row[2] and "null" in row[2].lower() for row in dead)
    assert b'"e-900"' in bytes(dead[1][3])


@pytest.mark.postgres
def test_a_row_beyond_a_limit_of_the_database_is_put_aside(postgres_store: Store) -> None:
    """PostgreSQL calls an index entry that is too long an operational error; it is the row's all the same."""
    (good,) = Decoders().decode(raw(native(1)), source="s", timestamp=None)
    assert isinstance(good, Trace)
    rng = random.Random(0)
    bad = good.model_copy(
        update={"id": "e-2", "subject": "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(9000))}
    )
    arrivals = [Arrival(T, number, number + 1, b"", (each,)) for number, each in enumerate((good, bad))]
    counts = store_isolated(postgres_store, source="s", arrivals=arrivals, splits=Splits(), now=1.0)
    assert counts == Counts(records=2, stored=1, dead_letters=1)


def test_large_records_are_dead_letters_with_head_and_digest(
    store: Store, source: MemorySource, make: Make
) -> None:
    """A value beyond the bound is stored as its head, with size and digest in the reason."""
    value = b"[" + b" " * MAX_BODY + b"]"
    source.append(value)
    make().step(0.1)
    body, reason = store.read(lambda c: c.execute(text("SELECT body, reason FROM dead_letter")).one())
    assert bytes(body) == value[: 64 << 10]
    assert hashlib.sha256(value).hexdigest() in reason
