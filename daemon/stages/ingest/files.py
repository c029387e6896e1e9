"""One file of agent logs, brought into the store whole or explained line by line."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from connectors.base import Record
from connectors.decoders.detect import Decoders
from connectors.errors import FatalError
from connectors.events import Skipped
from connectors.sources.jsonl import JsonlSource
from daemon.clock import Clock
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.ingest import Ingest
from daemon.store.store import Store
from daemon.store.traces import Counts
from policies.policy import Splits
from policies.records import Trace

COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
"""How files of gzip, bzip2, xz and Zstandard begin."""
FILE = "file"
"""The source's name of a file that is ingested by hand."""


def ingest_file(
    path: Path,
    *,
    decoders: Decoders,
    store: Store,
    metrics: Metrics,
    clock: Clock,
    splits: Splits,
    source: str = FILE,
    dead_letter_ratio: float = 0.05,
) -> Counts:
    """Brings one whole file into the store, its last line also without a newline.

    Doing it again adds nothing. Raises FatalError for a file that cannot be read, and SourceStoppedError for
    one in another format.
    """
    _require_plain(path)
    stage = Ingest(
        source=JsonlSource(name=source, path=path, whole=True),
        decoders=decoders,
        store=store,
        metrics=metrics,
        clock=clock,
        splits=splits,
        dead_letter_ratio=dead_letter_ratio,
    )
    stage.start()
    try:
        while stage.step(0.0):
            pass
    finally:
        stage.close()
    return stage.totals


def _require_plain(path: Path) -> None:
    """Raises FatalError for no file, and for one of which all lines would be dead letters."""
    if not path.is_file():
        raise FatalError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise FatalError(f"{path}: {error.strerror}") from None
    if head.startswith(COMPRESSED):
        raise FatalError(f"{path}: is compressed: decompress it first")
    first = head.split(b"\n", 1)[0].strip() if b"\n" in head else b""
    if first in (b"[", b"[{", b"{"):
        what = "object" if first == b"{" else "array"
        raise FatalError(
            f"{path}: one record a line; this file is one JSON {what} over many lines (`jq -c` writes lines)"
        )


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one event of a file is taken for. `line` is its line in the file, from 1.

    `reason` says why it is no trace, and `skipped` that it need not be one.
    """

    line: int
    index: int
    decoder: str | None
    trace: Trace | None
    reason: str | None
    skipped: bool = False


def explain(path: Path, decoders: Decoders, *, source: str = FILE) -> Iterator[Explanation]:
    """Every event of a file with the decoder that took it and the trace, or the reason. Stores nothing."""
    _require_plain(path)
    reader = JsonlSource(name=source, path=path, whole=True)
    reader.start(lambda _: {})
    line = end = 0
    try:
        while records := reader.receive(0.0):
            for record in records:
                line += 1 + _newlines(path, end, record.offset)  # blank lines are no records
                end = record.next_offset
                yield from _explained(record, line, decoders, source)
            reader.commit({record.partition: record.next_offset for record in records})
    finally:
        reader.close()


def _newlines(path: Path, start: int, end: int) -> int:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start).count(b"\n")


def _explained(record: Record, line: int, decoders: Decoders, source: str) -> Iterator[Explanation]:
    if record.fault is not None:
        yield Explanation(line, 0, None, None, record.fault)
        return
    found = decoders.outcomes(record.value, source=source, timestamp=record.timestamp)
    for index, outcome in enumerate(found):
        trace = outcome.result if isinstance(outcome.result, Trace) else None
        reason = None if trace else str(outcome.result)
        skipped = isinstance(outcome.result, Skipped)
        yield Explanation(line, index, outcome.decoder, trace, reason, skipped)
