"""The first stage: records from a source into the store.

One batch at a time: receive, decode, one transaction, then tell the source. A batch that could not be stored
is kept and tried again before anything else is received, so that no position ever passes over it.
"""

import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from connectors.base import Partition, Record, Source
from connectors.decoders.detect import Decoders
from connectors.errors import ConnectorError, DecodeError, FatalError
from connectors.sources.jsonl import JsonlSource
from daemon import log
from daemon.clock import Clock
from daemon.metrics import Metrics
from daemon.stages.isolation import store_isolated
from daemon.store.store import Store
from daemon.store.traces import Arrival, Counts, positions
from policies.policy import Splits
from policies.records import Trace

WINDOW = 1000
"""Records over which the share of undecodable ones is taken."""
IN_A_ROW = 50
"""So many undecodable records in a row mean the wrong decoder, not bad records."""
MAX_BODY = 10 << 20
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
"""How files of gzip, bzip2, xz and Zstandard begin."""
HEAD = 64 << 10
LAG_S = 1.0


class MassFailure:
    """Tells bad records from a wrong decoder: counts the undecodable among the last records."""

    def __init__(self, ratio: float) -> None:
        self._most = ratio * WINDOW
        self._window: deque[bool] = deque(maxlen=WINDOW)
        self._failed = 0
        self._row = 0

    def passed(self, *, failed: bool) -> bool:
        """Counts one record; True when there are now too many undecodable ones."""
        if len(self._window) == WINDOW:
            self._failed -= self._window[0]
        self._window.append(failed)
        self._failed += failed
        self._row = self._row + 1 if failed else 0
        return self._failed > self._most or self._row >= IN_A_ROW

    def __str__(self) -> str:
        if self._row >= IN_A_ROW:
            return f"{self._row} records in a row"
        return f"{self._failed} of the last {len(self._window)} records"


class Ingest:
    """Brings one source into the store. Used by one thread at a time.

    `batch_records` and `batch_s` bound a batch: it is stored when it is full or that old.
    """

    def __init__(
        self,
        *,
        source: Source,
        decoders: Decoders,
        store: Store,
        metrics: Metrics,
        clock: Clock,
        splits: Splits,
        batch_records: int = 500,
        batch_s: float = 0.1,
        dead_letter_ratio: float = 0.05,
    ) -> None:
        self._source, self._decoders, self._store = source, decoders, store
        self._metrics, self._clock, self._splits = metrics, clock, splits
        self._batch_records, self._batch_s = batch_records, batch_s
        self._failures = MassFailure(dead_letter_ratio)
        self._pending: list[Arrival] = []
        self._started = False
        self._fatal: FatalError | None = None
        self._newest = 0.0
        self._lag_at = float("-inf")
        self._partitions: set[Partition] = set()
        self._log = log.get("ingest").bind(source=source.name)
        self.totals = Counts()

    def start(self) -> None:
        """Starts the source at the store's positions, once. `step` does it where nobody did."""
        if not self._started:
            self._source.start(
                lambda partitions: self._store.read(lambda c: positions(c, self._source.name, partitions))
            )
            self._started = True

    def step(self, timeout_s: float) -> int:
        """One batch, waited for at most `timeout_s`; answers how many records were stored.

        Raises TransientError (wait, then call again) and FatalError (stop: also when most records cannot be
        decoded); a StoreError leaves the batch pending, and the next call stores it first.
        """
        self.start()
        if not self._pending:
            if self._fatal is not None:
                raise self._fatal
            self._pending = self._screened(self._received(timeout_s))
        done = len(self._pending)
        if self._pending:
            self._flush()
        self._refresh_lag()
        if self._fatal is not None:
            raise self._fatal
        return done

    def close(self) -> None:
        """Stops the source. What was received and not stored is read again by the next start."""
        self._source.close()

    def _received(self, timeout_s: float) -> list[Record]:
        records = self._source.receive(timeout_s, self._batch_records)
        deadline = self._clock.monotonic() + self._batch_s
        while records and len(records) < self._batch_records:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                break
            try:
                more = self._source.receive(left, self._batch_records - len(records))
            except ConnectorError:
                break  # what is here is stored first; the source says it again
            if not more:
                break
            records = [*records, *more]
        return records

    def _screened(self, records: list[Record]) -> list[Arrival]:
        """Decodes up to the record at which it is plain that the decoder is wrong.

        The run of undecodable records before that one stays unread too: a restart meets it again.
        """
        arrivals: list[Arrival] = []
        for record in records:
            arrival = self._decoded(record)
            failed = all(isinstance(outcome, DecodeError) for outcome in arrival.outcomes)
            if self._failures.passed(failed=failed):
                self._fatal = self._mass_failure(arrival.outcomes[-1])
                while arrivals and all(isinstance(each, DecodeError) for each in arrivals[-1].outcomes):
                    arrivals.pop()
                break
            arrivals.append(arrival)
        return arrivals

    def _decoded(self, record: Record) -> Arrival:
        body, fault = record.value or b"", record.fault
        if fault is None and len(body) > MAX_BODY:
            digest = hashlib.sha256(body).hexdigest()
            fault = f"{len(body)} bytes are more than {MAX_BODY}; the head is kept; sha256 {digest}"
            body = body[:HEAD]
        outcomes: list[Trace | DecodeError] = (
            self._decoders.decode(
                record.value,
                source=self._source.name,
                timestamp=self._clock.now() if record.timestamp is None else record.timestamp,
            )
            if fault is None
            else [DecodeError(fault)]
        )
        return Arrival(record.partition, record.offset, record.next_offset, body, tuple(outcomes))

    def _mass_failure(self, last: object) -> FatalError:
        return FatalError(
            f"source {self._source.name}: {self._failures} cannot be decoded; the last: {last}; "
            "correct the source's `decoder` or what writes to it (`rlaifd decode FILE` explains a sample); "
            "reading goes on from here"
        )

    def _flush(self) -> None:
        counts = store_isolated(
            self._store,
            source=self._source.name,
            arrivals=self._pending,
            splits=self._splits,
            now=self._clock.now(),
        )
        arrivals, self._pending = self._pending, []
        self._source.commit({each.partition: each.next_offset for each in arrivals})
        self._count(counts, arrivals)

    def _count(self, counts: Counts, arrivals: list[Arrival]) -> None:
        self.totals += counts
        records, name = self._metrics.records, self._source.name
        for outcome, count in (
            ("stored", counts.stored),
            ("duplicate", counts.duplicates),
            ("revision", counts.revisions),
            ("dead_letter", counts.dead_letters),
        ):
            records.labels(name, outcome).inc(count)
        traces = [each for arrival in arrivals for each in arrival.outcomes if isinstance(each, Trace)]
        cut = sum(trace.truncated for trace in traces)
        self._metrics.answered("logged", whole=len(traces) - cut, cut=cut)
        self._newest = max(self._newest, *(trace.ts for trace in traces), 0.0)
        self._metrics.newest_event.labels(name).set(self._newest)
        self._metrics.ingest_timestamp.labels(name).set(self._clock.now())
        if counts.dead_letters:
            reasons = [str(e) for each in arrivals for e in each.outcomes if isinstance(e, DecodeError)]
            self._log.warning("dead letters stored", count=counts.dead_letters, last=reasons[-1:])

    def _refresh_lag(self) -> None:
        if self._clock.monotonic() - self._lag_at < LAG_S:
            return
        self._lag_at = self._clock.monotonic()
        lag = self._source.lag()
        for gone in self._partitions - lag.keys():
            self._metrics.lag.remove(self._source.name, gone.topic, str(gone.partition))
        for partition, behind in lag.items():
            self._metrics.lag.labels(self._source.name, partition.topic, str(partition.partition)).set(behind)
        self._partitions = set(lag)


def ingest_file(
    path: Path,
    *,
    decoders: Decoders,
    store: Store,
    metrics: Metrics,
    clock: Clock,
    splits: Splits,
    source: str = "file",
    dead_letter_ratio: float = 0.05,
) -> Counts:
    """Brings one whole file into the store, its last line also without a newline.

    Doing it again adds nothing. Raises FatalError for a file that cannot be read or is in another format.
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
    """Raises FatalError for no file, and for a compressed one: all its lines would be dead letters."""
    if not path.is_file():
        raise FatalError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            head = file.read(6)
    except OSError as error:
        raise FatalError(f"{path}: {error.strerror}") from None
    if head.startswith(COMPRESSED):
        raise FatalError(f"{path}: is compressed: decompress it first")


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one event of a file is taken for. `line` is its line in the file, from 1."""

    line: int
    index: int
    decoder: str | None
    trace: Trace | None
    reason: str | None


def explain(path: Path, decoders: Decoders, *, source: str = "file") -> Iterator[Explanation]:
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
        yield Explanation(line, index, outcome.decoder, trace, reason)
