"""The contract of `Source`, on the fake and on the real ones."""

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from connectors.base import Partition, Record, Source
from tests.contracts.sources import JsonlPlace, KafkaPlace, MemoryPlace, Place, Positions

DEADLINE_S = 60.0
OVERSHOOT = 500
"""Records a source may take in beyond its bound: one fetch."""


@pytest.fixture(params=["memory", "jsonl", pytest.param("kafka", marks=pytest.mark.kafka)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "memory":
        return MemoryPlace()
    if request.param == "jsonl":
        return JsonlPlace(tmp_path)
    return KafkaPlace(request.getfixturevalue("kafka_broker"))


@pytest.fixture
def started(place: Place) -> Iterator[Callable[..., Source]]:
    """Starts sources of the place; closes them at the end."""
    sources: list[Source] = []

    def start(positions: Positions | None = None, **bounds: int) -> Source:
        source = place.source(**bounds)
        sources.append(source)
        source.start(positions or Positions())
        return source

    yield start
    for source in sources:
        source.close()


def receive(source: Source, count: int, *, commit: bool = True) -> list[Record]:
    """Receives until there are `count` records, or fails."""
    records: list[Record] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(records) < count:
        assert time.monotonic() < deadline, f"{len(records)} of {count} records in {DEADLINE_S} s"
        batch = source.receive(0.5, count - len(records))
        records.extend(batch)
        if commit:
            source.commit({each.partition: each.next_offset for each in batch})
    return records


def values(count: int, start: int = 0) -> list[bytes]:
    return [b'{"n":%d}' % number for number in range(start, start + count)]


def test_every_record_comes_once_and_in_order(place: Place, started: Callable[..., Source]) -> None:
    """All records of both streams come, each once, in offset order within its partition."""
    place.write(values(700), stream=0)
    place.write(values(300, 700), stream=1)
    source = started()
    records = receive(source, 1000)
    assert sorted(record.value or b"" for record in records) == sorted(values(1000))
    assert source.receive(0.2) == []
    for partition in {record.partition for record in records}:
        mine = [record for record in records if record.partition == partition]
        offsets = [record.offset for record in mine]
        assert offsets == sorted(set(offsets))
        assert all(record.next_offset <= later.offset for record, later in pairwise(mine))


def test_what_is_written_later_comes_too(place: Place, started: Callable[..., Source]) -> None:
    """A source follows: records written after it caught up arrive, with a plausible time."""
    place.write(values(3))
    source = started()
    receive(source, 3)
    place.write(values(2, 3))
    later = receive(source, 2)
    assert [record.value for record in later] == values(2, 3)
    assert all(record.timestamp is not None and 1.6e9 < record.timestamp < 1e11 for record in later)


def test_receive_answers_at_most_the_limit(place: Place, started: Callable[..., Source]) -> None:
    """The limit bounds one call."""
    place.write(values(50))
    source = started()
    first = receive(source, 1)
    assert len(first) == 1
    assert len(source.receive(2.0, 7)) <= 7


def test_receive_answers_nothing_in_time(place: Place, started: Callable[..., Source]) -> None:
    """With nothing to read, the call ends about when it was told to."""
    place.write(values(1))
    source = started()
    receive(source, 1)
    before = time.monotonic()
    assert source.receive(0.3) == []
    assert 0.2 < time.monotonic() - before < DEADLINE_S


def test_reading_starts_at_the_stores_position(place: Place, started: Callable[..., Source]) -> None:
    """A known partition goes on at the store's offset, an unknown one at the start."""
    place.write(values(10), stream=0)
    place.write(values(5, 10), stream=1)
    source = started()
    records = receive(source, 15)
    source.close()
    first = next(record for record in records if record.value == values(1)[0]).partition
    fourth = [record for record in records if record.partition == first][3]
    positions = Positions({first: fourth.offset})
    again = receive(started(positions), 12)
    assert sorted(record.value or b"" for record in again) == sorted(values(15)[3:])
    assert first in positions.asked


def test_commits_never_raise(place: Place, started: Callable[..., Source]) -> None:
    """Committing a partition that is not ours, or twice, is no error."""
    place.write(values(3))
    source = started()
    records = receive(source, 3)
    source.commit({Partition("somewhere-else", 7): 9})
    source.commit({records[-1].partition: records[-1].next_offset})
    source.commit({})


def test_backpressure_by_records(place: Place, started: Callable[..., Source]) -> None:
    """Uncommitted records are bounded; after a commit the rest comes, and nothing was dropped."""
    place.write(values(3000))
    source = started(max_records=600)
    held = receive(source, 600, commit=False)
    while batch := source.receive(1.0):
        held.extend(batch)
        assert len(held) <= 600 + OVERSHOOT
    source.commit({record.partition: record.next_offset for record in held})
    rest = receive(source, 3000 - len(held))
    assert [record.value for record in held + rest] == values(3000)


def test_backpressure_by_bytes(place: Place, started: Callable[..., Source]) -> None:
    """Uncommitted bytes are bounded too."""
    large = [b'{"n":%d,"pad":"%s"}' % (number, b"x" * 10_000) for number in range(1200)]
    place.write(large)
    source = started(max_bytes=1 << 20)
    held: list[Record] = []
    while batch := source.receive(1.0) if held else receive(source, 1, commit=False):
        held.extend(batch)
        assert len(held) <= 105 + OVERSHOOT
    source.commit({record.partition: record.next_offset for record in held})
    rest = receive(source, 1200 - len(held))
    assert [record.value for record in held + rest] == large


def test_lag_falls_to_zero(place: Place, started: Callable[..., Source]) -> None:
    """Lag is what the store has not: positive before the commit, nothing after it."""
    place.write(values(40))
    source = started()
    records = receive(source, 20, commit=False)
    source.commit({records[-1].partition: records[-1].next_offset})
    deadline = time.monotonic() + DEADLINE_S
    while sum(source.lag().values()) <= 0:
        assert time.monotonic() < deadline
        source.receive(0.0, 0)
    receive(source, 20)
    while sum(source.lag().values()) != 0:
        assert time.monotonic() < deadline
        source.receive(0.1)


def test_close_is_quick_and_repeatable(place: Place, started: Callable[..., Source]) -> None:
    """Closing takes seconds at most, also twice, and receiving from a closed source answers nothing."""
    place.write(values(5))
    source = started()
    receive(source, 1)
    before = time.monotonic()
    source.close()
    source.close()
    assert time.monotonic() - before < DEADLINE_S / 2
    assert source.receive(0.1) == []


def test_closing_before_the_start(place: Place) -> None:
    """A source that never started closes too."""
    place.source().close()
