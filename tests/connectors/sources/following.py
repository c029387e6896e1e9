"""A directory of JSONL files that is written to and read."""

from collections.abc import Callable
from pathlib import Path

from connectors.sources.jsonl import JsonlSource
from tests.contracts.sources import Positions

DEADLINE_S = 60.0
Start = Callable[..., JsonlSource]


def add(file: Path, *texts: str) -> None:
    with file.open("a", encoding="utf-8") as handle:
        handle.write("".join(texts))


def read(source: JsonlSource, store: Positions | None = None) -> list[str]:
    """Everything there is now, committed; into the store's positions where there is one."""
    found: list[str] = []
    while records := source.receive(0.0):
        found.extend((record.value or b"").decode() for record in records)
        ends = {record.partition: record.next_offset for record in records}
        source.commit(ends)
        if store is not None:
            store.known |= ends
    return found
