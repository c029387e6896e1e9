"""Whether a cluster can be reached and its topics be seen, without taking part in the group: that would take
partitions from the daemon that runs.
"""

from kafka import errors as kafka_errors

from connectors.sources.kafka.client import KafkaOptions, connect, partitions_of
from connectors.sources.kafka.errors import classified, last_reason, unreachable

CLIENT = "rlaifd-check"
CLOSE_MS = 1000


def partitions(options: KafkaOptions) -> int:
    """How many partitions the topics have together. Raises FatalError or TransientError, one line."""
    with last_reason(CLIENT) as reason:
        try:
            consumer = connect(options, CLIENT)
        except kafka_errors.KafkaTimeoutError:
            raise unreachable(options, reason()) from None
        except (kafka_errors.KafkaError, OSError, ValueError) as error:
            raise classified(error, options) from None
    try:
        return partitions_of(consumer, options)
    except kafka_errors.KafkaError as error:
        raise classified(error, options) from None
    finally:
        consumer.close(autocommit=False, timeout_ms=CLOSE_MS)
