"""What kafka-python raises and logs, as one clear line of the right kind."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from kafka import errors

from connectors.errors import ConnectorError, FatalError, TransientError


class Addressed(Protocol):
    """What the messages name of the options."""

    @property
    def bootstrap_servers(self) -> str: ...

    @property
    def group_id(self) -> str: ...


_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (errors.TopicAuthorizationFailedError, "the user may not read the topic: grant READ and DESCRIBE on it"),
    (errors.GroupAuthorizationFailedError, "the user may not use group {group!r}: grant READ on the group"),
    (errors.AuthorizationError, "the user is not authorised: grant it the access"),
    (errors.SaslAuthenticationFailedError, "user or password is wrong"),
    (errors.UnsupportedSaslMechanismError, "the broker does not offer this `sasl_mechanism`"),
    (errors.IllegalSaslStateError, "the broker expects another `security_protocol`"),
    (errors.OffsetOutOfRangeError,
     "the stored position is no longer retained: set auto_offset_reset to earliest to go on at what is left"),
    (errors.LogTruncationError, "the log was truncated below the stored position: an unclean election"),
    (errors.UnsupportedCodecError, "records are compressed with a codec whose library is missing here"),
    (errors.CorruptRecordError, "a record on the broker is damaged: its checksum does not match"),
    (errors.InvalidTopicError, "the topic's name is not valid: correct `topics`"),
    (errors.InvalidGroupIdError, "the group's name is not valid: correct `group_id`"),
    (errors.InconsistentGroupProtocolError,
     "group {group!r} is used by another kind of consumer: choose another `group_id`"),
    (errors.FencedInstanceIdError,
     "a consumer on a copy of this state directory is in group {group!r}: delete `identity` in one of them"),
    (errors.InvalidSessionTimeoutError, "the broker does not allow this `session_timeout_s`"),
    (errors.UnsupportedVersionError, "the broker is too old"),
    (errors.KafkaConfigurationError, "the source's settings do not fit together"),
)  # fmt: skip
"""What no waiting mends, and what to do about it."""

_CAUSES: tuple[tuple[str, str], ...] = (
    ("SaslAuthenticationFailed", "user or password is wrong"),
    ("UnsupportedSaslMechanism", "the broker does not offer this `sasl_mechanism`"),
    ("IllegalSaslState", "the broker expects another `security_protocol`"),
    ("CERTIFICATE_VERIFY_FAILED", "the broker's certificate is not signed by `ssl_cafile`"),
    ("WRONG_VERSION_NUMBER", "the broker does not speak TLS on this port: correct `security_protocol`"),
    ("Invalid frame length", "the port does not speak plaintext Kafka: correct `security_protocol`"),
)
"""Traces of a wrong configuration in the client's log, and what they mean."""


def classified(error: Exception, options: Addressed) -> ConnectorError:
    """The error as a FatalError (a person must act) or a TransientError (call again), one line."""
    if isinstance(error, ConnectorError):
        return error
    told = " ".join(str(error).split())[:300] or type(error).__name__
    for kind, advice in _ADVICE:
        if isinstance(error, kind):
            meaning = advice.format(group=options.group_id)
            return FatalError(f"kafka {options.bootstrap_servers}: {meaning} ({told})")
    if isinstance(error, errors.KafkaError):
        return TransientError(f"kafka {options.bootstrap_servers}: {told}")
    if isinstance(error, FileNotFoundError | PermissionError | ValueError):
        return FatalError(f"kafka {options.bootstrap_servers}: the source's settings are wrong: {told}")
    return TransientError(f"kafka {options.bootstrap_servers}: {type(error).__name__}: {told}")


def unreachable(options: Addressed, reason: str | None) -> ConnectorError:
    """Why the cluster was not reached in time, from the last reason in the client's log."""
    for trace, meaning in _CAUSES:
        if reason and trace in reason:
            return FatalError(f"kafka {options.bootstrap_servers}: {meaning} ({reason})")
    return TransientError(f"kafka {options.bootstrap_servers}: not reached ({reason or 'no answer'})")


@contextmanager
def last_reason(client_id: str) -> Iterator[Callable[[], str | None]]:
    """Keeps the last failure that this client logs while connecting: its exception does not tell it.

    The client's log must let warnings of `kafka.net.manager` through, as `daemon.log` sets it up.
    """
    logger = logging.getLogger("kafka.net.manager")
    keeper = _Keeper(f"kafka-io-{client_id}")
    logger.addHandler(keeper)
    try:
        yield lambda: keeper.reason
    finally:
        logger.removeHandler(keeper)


class _Keeper(logging.Handler):
    def __init__(self, thread: str) -> None:
        super().__init__(logging.WARNING)
        self._thread = thread
        self.reason: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.threadName != self._thread:
            return  # another source's client
        message = " ".join(record.getMessage().split())[:300]
        telling = any(trace in message for trace, _ in _CAUSES)
        known = self.reason is not None and any(trace in self.reason for trace, _ in _CAUSES)
        if "failed" in message and (telling or not known) and not message.startswith("Bootstrap failed"):
            self.reason = message
