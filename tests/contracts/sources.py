"""What the source contract needs of each kind of source: a place to write to, and a reader of it."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from connectors.base import Partition, Resume, Source
from connectors.memory import MemorySource
from connectors.sources.jsonl import JsonlSource
from connectors.sources.kafka.client import KafkaOptions
from connectors.sources.kafka.source import KafkaSource
from tests.servers.kafka import Broker


class Place(Protocol):
    """Somewhere records are written. Two streams: 0 and 1."""

    def write(self, values: Sequence[bytes], stream: int = 0) -> None: ...

    def source(self, *, max_records: int = 5000, max_bytes: int = 64 << 20) -> Source: ...


class MemoryPlace:
    def __init__(self) -> None:
        self._written: list[tuple[bytes, int]] = []
        self._sources: list[MemorySource] = []

    def write(self, values: Sequence[bytes], stream: int = 0) -> None:
        for value in values:
            self._written.append((value, stream))
            for source in self._sources:
                source.append(value, partition=stream, timestamp=1.7e9)

    def source(self, *, max_records: int = 5000, max_bytes: int = 64 << 20) -> Source:
        source = MemorySource(max_records=max_records, max_bytes=max_bytes)
        for value, stream in self._written:
            source.append(value, partition=stream, timestamp=1.7e9)
        self._sources.append(source)
        return source


class JsonlPlace:
    def __init__(self, directory: Path) -> None:
        self._directory = directory / "logs"
        self._directory.mkdir()

    def write(self, values: Sequence[bytes], stream: int = 0) -> None:
        with (self._directory / f"{stream}.jsonl").open("ab") as file:
            file.writelines(value + b"\n" for value in values)

    def source(self, *, max_records: int = 5000, max_bytes: int = 64 << 20) -> Source:
        return JsonlSource(
            name="s", path=self._directory, poll_s=0.02, max_records=max_records, max_bytes=max_bytes
        )


class KafkaPlace:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._topic = broker.create_topic(partitions=2)

    def write(self, values: Sequence[bytes], stream: int = 0) -> None:
        self._broker.produce(self._topic, values, partition=stream)

    def source(self, *, max_records: int = 5000, max_bytes: int = 64 << 20) -> Source:
        return KafkaSource(
            name="s",
            options=KafkaOptions(
                bootstrap_servers=self._broker.bootstrap,
                topics=(self._topic,),
                group_id=f"g-{uuid.uuid4().hex[:12]}",
                max_in_flight_records=max_records,
                max_in_flight_bytes=max_bytes,
            ),
        )


class Positions:
    """A store's positions, as a source asks for them. `asked` keeps every partition asked for."""

    def __init__(self, known: Mapping[Partition, int] | None = None) -> None:
        self.known = dict(known or {})
        self.asked: list[Partition] = []

    def __call__(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        self.asked.extend(partitions)
        return {each: self.known[each] for each in partitions if each in self.known}


Started = Callable[[Source, Resume], Source]
