"""What kafka-python raises and logs becomes one clear line of the right kind."""

import dataclasses
import logging
import threading
from types import SimpleNamespace

import pytest
from kafka import errors as kafka_errors
from kafka.future import Future

from connectors.errors import ConnectorError, FatalError, TransientError
from connectors.sources.kafka.client import KafkaOptions, keep_join
from connectors.sources.kafka.errors import classified, last_reason


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (kafka_errors.GroupAuthorizationFailedError("g"), FatalError, "grant READ on the group"),
        (kafka_errors.TopicAuthorizationFailedError({"t"}), FatalError, "may not read the topic"),
        (kafka_errors.SaslAuthenticationFailedError("no"), FatalError, "password is wrong"),
        (kafka_errors.UnsupportedCodecError("zstd"), FatalError, "codec"),
        (kafka_errors.CorruptRecordError(), FatalError, "damaged"),
        (kafka_errors.InconsistentGroupProtocolError(), FatalError, "another `group_id`"),
        (kafka_errors.KafkaConfigurationError("x"), FatalError, "do not fit"),
        (FileNotFoundError(2, "No such file", "ca.pem"), FatalError, "settings are wrong"),
        (kafka_errors.KafkaConnectionError("111"), TransientError, "111"),
        (kafka_errors.InvalidRequestError("odd"), TransientError, "odd"),
        (kafka_errors.NotCoordinatorError(), TransientError, "kafka b:1"),
        (kafka_errors.RebalanceInProgressError(), TransientError, "kafka b:1"),
        (RuntimeError("a bug"), TransientError, "RuntimeError: a bug"),
        (TransientError("as it is"), TransientError, "as it is"),
    ],
)
def test_errors_are_classified(error: Exception, kind: type[ConnectorError], words: str) -> None:
    """What a person must mend is fatal, what waiting mends is transient; each is one line."""
    found = classified(error, KafkaOptions(bootstrap_servers="b:1", topics=("t",), group_id="g"))
    assert type(found) is kind
    assert words in str(found)
    assert "\n" not in str(found)


def log_from(thread: str, *lines: str) -> None:
    def log() -> None:
        for line in lines:
            logging.getLogger("kafka.net.manager").warning("%s", line)

    client = threading.Thread(target=log, name=thread)
    client.start()
    client.join()


def test_the_telling_reason_is_kept() -> None:
    """A later, vaguer line of the client's log does not cover the cause."""
    with last_reason("c") as reason:
        assert reason() is None
        log_from(
            "kafka-io-c",
            "Bootstrap connection to x failed: [Error 58] SaslAuthenticationFailedError",
            "Bootstrap connection to x failed: connection refused",
            "Bootstrap failed: KafkaTimeoutError",
        )
        assert "SaslAuthenticationFailedError" in (reason() or "")


def test_each_client_has_its_own_reason() -> None:
    """Two sources that connect at the same time are told apart, and leave the client's log as it was."""
    logger = logging.getLogger("kafka.net.manager")
    before = list(logger.handlers), logger.level, logger.propagate
    with last_reason("one") as one:
        with last_reason("two") as two:
            log_from("kafka-io-two", "Connection failed: Invalid frame length")
        log_from("kafka-io-one", "Connection failed: refused")
        assert one() == "Connection failed: refused"
        assert "frame" in (two() or "")
    assert (list(logger.handlers), logger.level, logger.propagate) == before


def test_the_password_is_not_shown() -> None:
    """Options print without the password."""
    options = KafkaOptions(bootstrap_servers="b:1", topics=("t",), sasl_password="hunter2")
    assert "hunter2" not in repr(options)
    assert dataclasses.replace(options, group_id="h").sasl_password == "hunter2"


def test_a_join_that_failed_by_its_own_timeout_is_begun_anew() -> None:
    """The coordinator takes such an error for the poll's own and would wait for the same join for ever."""
    joins = [
        Future().failure(kafka_errors.KafkaTimeoutError()),
        Future().failure(kafka_errors.NotCoordinatorError()),
    ]
    looks_done = []
    for join in [*joins, Future().success(b"assigned"), Future()]:
        coordinator = SimpleNamespace(_join_task=join, request_rejoin=lambda: None)
        keep_join(SimpleNamespace(_coordinator=coordinator))
        looks_done.append(coordinator._join_task.is_done)
    assert looks_done == [True, False, False, False]
