"""A backlog: what a batch costs, and that the next one is decoded while it is written."""

import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from connectors.decoders import strict
from connectors.decoders.detect import Decoders
from connectors.memory import MemorySource
from daemon.errors import SourceStoppedError
from daemon.stages.ingest import bad_rows
from daemon.store.store import Store, StoreError
from daemon.store.traces import Arrival, Counts, positions
from policies import clusters, records
from policies.unknowns import IN_A_ROW
from tests.connectors.decoders.events import native
from tests.daemon.stages.ingest.intake import Make, T, drain, raw, rows

OF_VERSIONS = re.compile(r"(INTO|FROM|UPDATE) agent_version\b")
"""A version's row is written every hundred traces."""
PATCHED = "daemon.stages.ingest.ingest.store_isolated"


def fill(source: MemorySource, start: int, end: int) -> None:
    for number in range(start, end):
        source.append(raw(native(number)))


@contextmanager
def counted(store: Store) -> Iterator[list[str]]:
    """What statements the store's connections are given meanwhile, those about versions apart."""
    told: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if not OF_VERSIONS.search(statement):
            told.append(statement.split(maxsplit=1)[0])

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        yield told
    finally:
        event.remove(store.engine, "before_cursor_execute", note)


def test_a_batch_has_its_number_of_statements_whatever_its_size(
    store: Store, source: MemorySource, make: Make
) -> None:
    """Four hundred new events need as many statements as four."""
    stage = make()
    fill(source, 0, 1)
    drain(stage)
    told: dict[int, Counter[str]] = {}
    at = 1
    for size in (4, 400):
        fill(source, at, at + size)
        at += size
        with counted(store) as statements:
            assert stage.step(0.0) == size
        told[size] = Counter(statements)
    assert rows(store, "trace") == rows(store, "candidate") == at
    assert told[400] == told[4]
    assert told[4]["INSERT"] <= 4  # the position, traces, candidates, and on PostgreSQL the mark


def test_an_event_is_parsed_and_written_as_json_and_clustered_once(
    source: MemorySource, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checking it, telling it from what is stored, and storing it share what one of them worked out."""
    done: Counter[str] = Counter()

    def count(module: Any, name: str) -> None:
        real = getattr(module, name)

        def counting(*given: Any) -> Any:
            done[name] += 1
            return real(*given)

        monkeypatch.setattr(module, name, counting)

    for module, name in (
        (strict, "_quickly"), (strict, "_slowly"), (records, "encoded"), (clusters, "cluster_of")
    ):  # fmt: skip
        count(module, name)
    fill(source, 0, 30)
    assert drain(make()) == 30
    assert done == {"_quickly": 30, "encoded": 30, "cluster_of": 30}


def test_the_next_batch_is_decoded_while_a_full_one_is_written(
    store: Store, source: MemorySource, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write is held up here until that has happened."""
    ahead = threading.Event()
    decode = Decoders.decode

    def noting(self: Decoders, value: bytes | None, **given: Any) -> Any:
        if value == raw(native(3)):
            ahead.set()
        return decode(self, value, **given)

    def write(*given: Any, arrivals: Sequence[Arrival], **more: Any) -> Counts:
        if len(arrivals) == 2:
            assert ahead.wait(60)
        return bad_rows.store_isolated(*given, arrivals=arrivals, **more)

    monkeypatch.setattr(Decoders, "decode", noting)
    monkeypatch.setattr(PATCHED, write)
    fill(source, 0, 5)
    stage = make(batch_records=2)
    assert stage.step(0.0) == 2
    assert rows(store, "trace") == 2
    assert drain(stage) == 3
    assert rows(store, "trace") == 5
    assert store.read(lambda c: positions(c, "memory", [T])) == {T: 5}
    stage.close()


def test_a_batch_that_cannot_be_stored_goes_before_the_one_ahead(
    store: Store, source: MemorySource, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it fails; nothing is lost, and nothing counted twice."""
    fill(source, 0, 5)
    stage = make(batch_records=2)
    tried: list[int] = []

    def fail(*given: Any, arrivals: Sequence[Arrival], **more: Any) -> Counts:
        tried.append(arrivals[0].offset)
        raise StoreError("away")

    with monkeypatch.context() as away:
        away.setattr(PATCHED, fail)
        for _ in range(3):
            with pytest.raises(StoreError):
                stage.step(0.0)
    assert tried == [0, 0, 0]
    assert [stage.step(0.0) for _ in range(4)] == [2, 2, 1, 0]
    assert stage.totals == Counts(records=5, stored=5)
    stage.close()


def test_a_stop_in_the_batch_ahead_waits_for_the_one_before(
    store: Store, source: MemorySource, make: Make
) -> None:
    """What is known is stored first; of the run nothing is."""
    fill(source, 0, 60)
    for number in range(IN_A_ROW):
        source.append(b'{"n": %d}' % number)
    stage = make(batch_records=60)
    assert stage.step(0.0) == 60
    with pytest.raises(SourceStoppedError):
        stage.step(0.0)
    assert (rows(store, "trace"), rows(store, "dead_letter")) == (60, 0)
    stage.close()
