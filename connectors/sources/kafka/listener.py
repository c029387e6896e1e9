"""Rebalances, as the client tells them on its IO thread: no blocking call is allowed there."""

from collections.abc import Iterable
from typing import Protocol

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition


class Placed(Protocol):
    """Who follows the partitions that come and go."""

    def placing(self, consumer: KafkaConsumer, partitions: Iterable[TopicPartition]) -> None: ...

    def dropping(self, partitions: Iterable[TopicPartition]) -> None: ...


class RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Hands rebalances on."""

    def __init__(self, source: Placed, consumer: KafkaConsumer) -> None:
        self._source, self._consumer = source, consumer

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._source.placing(self._consumer, assigned)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._source.dropping(revoked)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self._source.dropping(lost)
