"""Opening Kafka sources and reading from them, patiently: what the tests of the source share."""

import time
from collections.abc import Callable

from connectors.base import Record
from connectors.errors import ConnectorError, TransientError
from connectors.losses import OffsetsLostError
from connectors.sources.kafka.source import KafkaSource

DEADLINE_S = 100.0
Open = Callable[..., KafkaSource]


def values(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def patient(
    source: KafkaSource, until: Callable[[list[Record]], bool], *, commit: bool = True
) -> list[Record]:
    """Receives through transient errors until the condition holds."""
    records: list[Record] = []
    deadline = time.monotonic() + DEADLINE_S
    while not until(records):
        assert time.monotonic() < deadline, f"{len(records)} records in {DEADLINE_S} s"
        try:
            batch = source.receive(0.2)
        except (TransientError, OffsetsLostError):
            time.sleep(0.05)
            continue
        records.extend(batch)
        if commit:
            source.commit({record.partition: record.next_offset for record in batch})
    return records


def trouble(source: KafkaSource, kind: type[ConnectorError], words: str = "") -> str:
    """The line of the first error of that kind with those words."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            source.receive(0.5)
        except ConnectorError as error:
            if isinstance(error, kind) and words in str(error):
                return str(error)
            if not isinstance(error, TransientError):
                raise
            time.sleep(0.05)  # it is told at once each time: a busy loop starves the client
    raise AssertionError(f"no {kind.__name__} {words!r} in {DEADLINE_S} s")
