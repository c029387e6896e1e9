"""What a source lost before it was read: a stop, until a person accepts it."""

from connectors.base import Record
from connectors.losses import Loss, OffsetsLostError
from daemon.clock import Clock
from daemon.errors import SourceStoppedError
from daemon.log import Logger
from daemon.metrics.registry import Metrics
from daemon.store import losses
from daemon.store.store import Store

TELL = "raise the topic's retention, or read faster"


class Losing:
    """Keeps and tells the losses of one source. Used by its ingest stage's thread."""

    def __init__(self, *, source: str, store: Store, metrics: Metrics, clock: Clock, log: Logger) -> None:
        self._source, self._store = source, store
        self._metrics, self._clock, self._log = metrics, clock, log
        self._stopped = False

    def met(self, error: OffsetsLostError) -> None:
        """Goes on behind what a person has accepted. Raises SourceStoppedError for the rest."""
        name, now = self._source, self._clock.now()
        line = (
            f"source {name}: {error}; it is not read on: go on without them by `rlaifd ingest --accept "
            f"{name}`, and {TELL}"
        )
        passed, waiting = self._store.write(lambda c: losses.meet(c, name, error.losses, line, now=now))
        for gap in passed:
            self._lost(gap, accepted=True)
        if waiting:
            self._stopped = True
            self._metrics.source_stopped.labels(name).set(1)
            raise SourceStoppedError(line)

    def over(self) -> None:
        """The source handed over what it has: nothing that it lost holds it."""
        if self._stopped:
            self._stopped = False
            self._metrics.source_stopped.labels(self._source).set(0)

    def passed_over(self, records: list[Record]) -> None:
        """Tells what the source lost right before these records and went on without, as it was told to."""
        for record in records:
            begins = record.offset
            self._lost(Loss(record.partition, begins - record.lost, begins), accepted=False)
        if records:
            partitions, now = {record.partition for record in records}, self._clock.now()
            self._store.write(lambda c: losses.passed_over(c, self._source, partitions, now=now))

    def _lost(self, gap: Loss, *, accepted: bool) -> None:
        self._metrics.records_lost.labels(self._source).inc(gap.count)
        self._log.warning(
            "records_lost",
            topic=gap.partition.topic,
            partition=gap.partition.partition,
            offset=gap.begins,
            count=gap.count,
            accepted=accepted,
            reason=f"the source removed them before they were read: {TELL}",
        )
