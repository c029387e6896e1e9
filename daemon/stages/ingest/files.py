"""One file of agent logs, brought into the store whole or explained event by event.

A file is one record a line, or one JSON document over many lines.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from connectors.base import Record, Source
from connectors.decoders import inventory
from connectors.decoders.detect import Decoders
from connectors.decoders.inventory import Inventory
from connectors.errors import DecodeError, FatalError
from connectors.events import Skipped
from connectors.sources.document import DocumentSource, is_document
from connectors.sources.jsonl import JsonlSource
from daemon.clock import Clock
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.ingest import Ingest
from daemon.stages.ingest.intake import IntakeRule
from daemon.store.store import Store
from daemon.store.traces import Counts
from policies.feedback import FeedbackEvent
from policies.policy import Splits
from policies.records import Trace
from policies.redaction import Redaction
from policies.spans import Span

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
    redaction: Redaction | None = None,
) -> Counts:
    """Brings one whole file into the store, its last line also without a newline.

    Doing it again adds nothing. Raises FatalError for a file that cannot be read, and SourceStoppedError for
    one in another format.
    """
    stage = Ingest(
        source=_source(path, source),
        decoders=decoders,
        store=store,
        metrics=metrics,
        clock=clock,
        rule=IntakeRule(splits, dead_letter_ratio=dead_letter_ratio, redaction=redaction or Redaction(())),
    )
    stage.start()
    try:
        while stage.step(0.0):
            pass
        stage.join_rest()
    finally:
        stage.close()
    return stage.totals


def _source(path: Path, name: str) -> Source:
    """What reads the file. Raises FatalError for no file, and for one of which all would be dead letters."""
    if not path.is_file():
        raise FatalError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            head = file.read(max(map(len, COMPRESSED)))
        if head.startswith(COMPRESSED):
            raise FatalError(f"{path}: is compressed: decompress it first")
        if is_document(path):
            return DocumentSource(name=name, path=path)
    except OSError as error:
        raise FatalError(f"{path}: {error.strerror}") from None
    return JsonlSource(name=name, path=path, whole=True)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one event of a file is taken for. `line` is the line at which its record begins, from 1.

    `other` is feedback or a span; `reason` says why it is no event, and `skipped` that it need not be one.
    `inventory` is what a trace holds and lacks.
    """

    line: int
    index: int
    decoder: str | None
    trace: Trace | None
    reason: str | None
    skipped: bool = False
    other: FeedbackEvent | Span | None = None
    inventory: Inventory | None = None


def explain(path: Path, decoders: Decoders, *, source: str = FILE) -> Iterator[Explanation]:
    """Every event of a file with the decoder that took it and the trace, or the reason. Stores nothing."""
    reader = _source(path, source)
    reader.start(lambda _: {})
    line, read_to = 1, 0
    try:
        while records := reader.receive(0.0):
            for record in records:
                line += _newlines(path, read_to, record.offset)
                read_to = record.offset
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
    found = decoders.outcomes(
        record.value, source=source, timestamp=record.timestamp, content_type=record.content_type
    )
    for index, outcome in enumerate(found):
        result = outcome.result
        trace = result if isinstance(result, Trace) else None
        other = result if isinstance(result, FeedbackEvent | Span) else None
        reason = str(result) if isinstance(result, Skipped | DecodeError) else None
        held = None if trace is None else inventory.of(trace, transport=record.timestamp)
        skipped = isinstance(result, Skipped)
        yield Explanation(line, index, outcome.decoder, trace, reason, skipped, other, held)
