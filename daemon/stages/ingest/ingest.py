"""The first stage: records from a source into the store.

A batch is received, decoded, stored in one transaction, and then told to the source. A batch that could not
be stored is kept and tried again before any other is, so that no position ever passes over it.

While a full batch is written, by a thread of its own, the next one is decoded: a backlog keeps the processor
and the disk busy at once. There is never more than that one ahead.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from connectors.base import Partition, Record, Source
from connectors.decoders.detect import Decoders
from connectors.errors import ConnectorError, DecodeError
from connectors.events import Found, Skipped, SkipReason
from connectors.losses import OffsetsLostError
from daemon import log
from daemon.clock import Clock
from daemon.errors import SourceStoppedError
from daemon.metrics.registry import JOINED_OUTCOMES, Metrics
from daemon.stages.ingest.bad_rows import store_isolated
from daemon.stages.ingest.brake import Brake
from daemon.stages.ingest.intake import IntakeRule
from daemon.stages.ingest.joining import Joining
from daemon.stages.ingest.losing import Losing
from daemon.store import stops
from daemon.store.store import Store
from daemon.store.traces import Arrival, Counts, positions
from policies.pressure import Pressure
from policies.records import Trace
from policies.sampling import kept
from policies.states import RecordOutcome
from policies.unknowns import Unknowns

MAX_BODY = 10 << 20
HEAD = 64 << 10
LAG_S = 1.0
MOST_EVENTS = 5000
"""Events of a batch, beyond which its further records wait for the next one."""


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A batch. `unknown` is what came of the record at which it became plain that the decoder is wrong."""

    arrivals: list[Arrival]
    unknown: Found | None = None


class Ingest:
    """Brings one source into the store. Used by one thread at a time.

    `brake` says when nothing is read (None: never).
    """

    def __init__(
        self,
        *,
        source: Source,
        decoders: Decoders,
        store: Store,
        metrics: Metrics,
        clock: Clock,
        rule: IntakeRule,
        brake: Brake | None = None,
    ) -> None:
        self._source, self._decoders, self._store = source, decoders, store
        self._metrics, self._clock, self._rule = metrics, clock, rule
        self._unknowns = Unknowns(rule.dead_letter_ratio)
        self._brake = brake
        self._pressing: frozenset[Pressure] = frozenset()
        self._waiting: deque[Record] = deque()
        """Received, and not decoded yet."""
        self._pending: list[Arrival] = []
        """Decoded, and not stored yet."""
        self._ahead: _Decoded | None = None
        """The batch after that, decoded while it was written."""
        self._writer = ThreadPoolExecutor(1, f"ingest-{source.name}")
        self._started = False
        self._stop: str | None = None
        """Why nothing is read on."""
        self._kept = False
        """Whether the store has that stop."""
        self._standing: stops.Stop | None = None
        """A stop in the store that no known record has passed."""
        self._newest = 0.0
        self._lag_at = float("-inf")
        self._lag: dict[Partition, int] = {}
        self._log = log.get("ingest").bind(source=source.name)
        self._joining = Joining(
            source=source.name, store=store, clock=clock, splits=rule.splits, rule=rule.join,
            versions=rule.versions, keep=rule.keep,
        )  # fmt: skip
        self._losing = Losing(source=source.name, store=store, metrics=metrics, clock=clock, log=self._log)
        self.totals = Counts()
        self.joined = Counts()

    def start(self) -> None:
        """Starts the source at the store's positions, once. `step` does it where nobody did."""
        if self._started:
            return
        found = self._store.read(lambda c: stops.of(c, self._source.name))
        self._standing = found
        if found is not None:
            (self._unknowns.accept if found.accepted else self._unknowns.suspect)()
        self._metrics.source_stopped.labels(self._source.name).set(0)
        self._source.start(
            lambda partitions: self._store.read(lambda c: positions(c, self._source.name, partitions))
        )
        self._started = True

    def step(self, timeout_s: float) -> int:
        """One batch, waited for at most `timeout_s`; returns how many records were stored.

        Raises TransientError (wait, then call again), FatalError (a person must act), and SourceStoppedError
        while too many records are in no format that a decoder knows, or the source has lost offsets before
        they were read, until a person has accepted that. A StoreError leaves the batch pending, and the next
        call stores it first.
        """
        self.start()
        if not self._pending:
            self._go_on_or_raise()
            if self._paused():
                self._rest(timeout_s)
                return 0
            self._take(timeout_s)
        done = len(self._pending)
        if self._pending:
            self._flush()
        self._join()
        self._refresh_lag()
        self._go_on_or_raise()
        return done

    def _paused(self) -> bool:
        """Whether nothing is read now. What was received before waits; the source keeps the rest."""
        pressing = frozenset() if self._brake is None else self._brake.pressing()
        if pressing != self._pressing:
            for each in Pressure:
                self._metrics.ingest_paused.labels(self._source.name, each).set(each in pressing)
            lines = [] if self._brake is None else self._brake.lines()
            self._log.warning("reading_paused" if pressing else "reading_goes_on", why=lines)
            self._pressing = pressing
        return bool(pressing)

    def _rest(self, timeout_s: float) -> None:
        self._refresh_lag()
        if self._brake is not None:
            self._brake.rest(timeout_s)

    def join_rest(self) -> None:
        """Joins what is open as if nothing more came."""
        self._join(at_once=True)

    def close(self) -> None:
        """Stops the source. What was received and not stored is read again by the next start."""
        self._source.close()
        self._writer.shutdown()

    def _take(self, timeout_s: float) -> None:
        """Makes the next batch the pending one."""
        batch, self._ahead = self._ahead, None
        if batch is None:
            self._receive(timeout_s)
            batch = self._decoded()
        self._pending = batch.arrivals
        if batch.unknown is not None:
            self._stop, self._kept = self._told(batch.unknown), False

    def _receive(self, timeout_s: float) -> None:
        if self._waiting:
            return
        try:
            self._waiting.extend(self._source.receive(timeout_s, self._rule.batch_records))
            self._losing.over()
        except OffsetsLostError as error:
            self._losing.met(error)
            self._refresh_lag()
            return
        except ConnectorError:
            self._refresh_lag()  # nothing else tells how far behind a source is that cannot be read
            raise
        deadline = self._clock.monotonic() + self._rule.batch_s
        while self._waiting and len(self._waiting) < self._rule.batch_records:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                break
            try:
                more = self._source.receive(left, self._rule.batch_records - len(self._waiting))
            except ConnectorError:
                break  # what is here is stored first; the source says it again
            if not more:
                break
            self._waiting.extend(more)

    def _look_ahead(self) -> None:
        """Decodes the next batch, of what is here already. What goes wrong with the source is said again."""
        if self._ahead is None and self._stop is None:
            with suppress(ConnectorError, SourceStoppedError):
                self._receive(0.0)
            batch = self._decoded()
            if batch.arrivals or batch.unknown is not None:
                self._ahead = batch

    def _decoded(self) -> _Decoded:
        """Decodes up to the record at which it is plain that the decoder is wrong.

        The run of unknown records before that one is not stored either: it waits for what a person decides.
        """
        taken: list[tuple[Record, Arrival]] = []
        events, unknown = 0, None
        while self._waiting and events < MOST_EVENTS:
            record = self._waiting.popleft()
            arrival = self._arrival(record)
            taken.append((record, arrival))
            events += len(arrival.outcomes)
            if self._unknowns.passed(unknown=arrival.unknown):
                unknown = arrival.outcomes[-1]
                while taken and taken[-1][1].unknown:
                    self._waiting.appendleft(taken.pop()[0])
                break
        self._losing.passed_over([record for record, _ in taken if record.lost])
        return _Decoded([arrival for _, arrival in taken], unknown)

    def _arrival(self, record: Record) -> Arrival:
        body, fault = record.value or b"", record.fault
        if fault is None and len(body) > MAX_BODY:
            digest = hashlib.sha256(body).hexdigest()
            fault = f"{len(body)} bytes are more than {MAX_BODY}; the head is kept; sha256 {digest}"
            body = body[:HEAD]
        outcomes: list[Found] = (
            self._decoders.decode(
                record.value,
                source=self._source.name,
                timestamp=self._clock.now() if record.timestamp is None else record.timestamp,
                content_type=record.content_type,
            )
            if fault is None
            else [DecodeError(fault)]
        )
        if self._rule.redaction:
            outcomes, body = [self._redacted(each) for each in outcomes], self._rule.redaction.raw(body)
        if self._rule.keep < 1:
            outcomes = [self._sampled(each) for each in outcomes]
        return Arrival(record.partition, record.offset, record.next_offset, body, tuple(outcomes))

    def _redacted(self, found: Found) -> Found:
        """Of what is wrong with a record, too: the reason may quote it, and its bytes are kept."""
        if isinstance(found, Skipped):
            return found
        if isinstance(found, DecodeError):
            body = None if found.body is None else self._rule.redaction.raw(found.body)
            return type(found)(self._rule.redaction.text(str(found)), body)
        return self._rule.redaction.event(found)

    def _sampled(self, found: Found) -> Found:
        """The event, or a trace that is not kept as skipped. What is said of others, and parts, are kept."""
        shed = isinstance(found, Trace) and not kept(found, self._rule.keep)
        return Skipped(SkipReason.SAMPLED_OUT) if shed else found

    def _told(self, last: object) -> str:
        """What a person is told of a stop, with the ways out; of one that stands, what was told then."""
        if self._standing is not None and not self._standing.accepted:
            return self._standing.line
        name = self._source.name
        share = "" if self._unknowns.in_a_row else ", raise stages.dead_letter_ratio,"
        return (
            f"source {name}: {self._unknowns} are in no format that its decoder knows; the last: {last}; it "
            "is not read on: correct the source's `decoder` or what writes to it (`rlaifd decode FILE` "
            f"explains a sample){share} or store them as dead letters: `rlaifd ingest --accept {name}`"
        )

    def _go_on_or_raise(self) -> None:
        """Raises the stop while it stands; goes on where a person has accepted the run."""
        if self._stop is None:
            return
        name, line, now = self._source.name, self._stop, self._clock.now()
        if not self._kept:
            self._metrics.source_stopped.labels(name).set(1)
            self._store.write(lambda c: stops.stop(c, name, line, now=now))
            self._kept = True
        self._standing = self._store.read(lambda c: stops.of(c, name))
        if self._standing is None or not self._standing.accepted:
            self._refresh_lag()
            raise SourceStoppedError(line)
        self._unknowns.accept()
        self._stop = None
        self._metrics.source_stopped.labels(name).set(0)
        self._log.warning("unknown_records_accepted")

    def _flush(self) -> None:
        if len(self._pending) < self._rule.batch_records:
            counts = self._write(self._pending)
        else:
            written = self._writer.submit(self._write, self._pending)
            try:
                self._look_ahead()
            finally:
                counts = written.result()
        arrivals, self._pending = self._pending, []
        self._source.commit({each.partition: each.next_offset for each in arrivals})
        self._count(counts, arrivals)
        if self._standing is not None and self._stop is None and not all(each.unknown for each in arrivals):
            self._store.write(lambda c: stops.passed(c, self._source.name, now=self._clock.now()))
            self._standing = None

    def _write(self, arrivals: Sequence[Arrival]) -> Counts:
        return store_isolated(
            self._store,
            source=self._source.name,
            arrivals=arrivals,
            splits=self._rule.splits,
            now=self._clock.now(),
            versions=self._rule.versions,
            keep=self._rule.keep,
        )

    def _join(self, *, at_once: bool = False) -> None:
        """Traces of parts count beside the events that they come from."""
        found = self._joining.step(at_once=at_once)
        counts = found.counts
        told = (counts.stored, counts.duplicates, counts.revisions, found.steps, found.blank)
        for outcome, count in zip(JOINED_OUTCOMES, told, strict=True):
            self._metrics.traces_joined.labels(self._source.name, outcome).inc(count)
        self._metrics.records_skipped.labels(self._source.name, SkipReason.SAMPLED_OUT).inc(counts.skipped)
        self.joined += counts
        if found.answers:
            self._answered(found.answers, found.cut, found.newest)

    def _count(self, counts: Counts, arrivals: list[Arrival]) -> None:
        self.totals += counts
        records, name = self._metrics.records, self._source.name
        for outcome, count in (
            (RecordOutcome.STORED, counts.stored),
            (RecordOutcome.DUPLICATE, counts.duplicates),
            (RecordOutcome.REVISION, counts.revisions),
            (RecordOutcome.DEAD_LETTER, counts.dead_letters),
            (RecordOutcome.SKIPPED, counts.skipped),
            (RecordOutcome.FEEDBACK, counts.feedback),
            (RecordOutcome.SPAN, counts.spans),
        ):
            records.labels(name, outcome).inc(count)
        events = [event for arrival in arrivals for event in arrival.outcomes]
        skipped = Counter(event.reason for event in events if isinstance(event, Skipped))
        for reason, count in skipped.items():
            self._metrics.records_skipped.labels(name, reason.value).inc(count)
        traces = [event for event in events if isinstance(event, Trace)]
        cut = sum(trace.truncated for trace in traces)
        # An answer that never came because the thought took all the room is cut off like no other.
        thoughts = skipped[SkipReason.THOUGHT]
        newest = max((trace.ts for trace in traces), default=0.0)
        if traces or thoughts or not counts.spans:  # spans become answers later, and tell then
            self._answered(len(traces) + thoughts, cut + thoughts, newest)
        self._metrics.ingest_timestamp.labels(name).set(self._clock.now())
        if counts.dead_letters:
            reasons = [str(event) for event in events if isinstance(event, DecodeError)]
            self._log.warning("dead letters stored", count=counts.dead_letters, last=reasons[-1:])

    def _answered(self, answers: int, cut: int, newest: float) -> None:
        """Tells how many answers came, how many of them were cut off, and when the newest was given."""
        self._metrics.answered("logged", whole=answers - cut, cut=cut)
        self._newest = max(self._newest, newest)
        self._metrics.newest_event.labels(self._source.name).set(self._newest)

    def _refresh_lag(self) -> None:
        if self._clock.monotonic() - self._lag_at < LAG_S:
            return
        self._lag_at = self._clock.monotonic()
        name, lag, before = self._source.name, dict(self._source.lag()), self._lag
        reading = self._source.reading()
        self._metrics.source_partitions.labels(name).set(reading.partitions)
        if reading.well_at is not None:
            self._metrics.source_read_at.labels(name).set(reading.well_at)
        for gone in before.keys() - lag.keys():
            self._metrics.lag.remove(name, gone.topic, str(gone.partition))
        for partition, behind in lag.items():
            if before.get(partition) != behind:
                self._metrics.lag.labels(name, partition.topic, str(partition.partition)).set(behind)
        self._lag = lag
