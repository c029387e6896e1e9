"""What kafka-python raises and logs, as one clear line of the right kind."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from kafka import errors

from connectors.errors import ConnectorError, FatalError, TransientError
from connectors.sources.kafka.tokens import REFUSED


class Addressed(Protocol):
    """What the messages name of the options."""

    @property
    def bootstrap_servers(self) -> str: ...

    @property
    def group_id(self) -> str: ...

    @property
    def sasl_mechanism(self) -> str | None: ...


_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (errors.TopicAuthorizationFailedError, "the user may not read the topic: grant READ and DESCRIBE on it"),
    (errors.GroupAuthorizationFailedError, "the user may not use group {group!r}: grant READ on the group"),
    (errors.AuthorizationError, "the user is not authorised: grant it the access"),
    (errors.SaslAuthenticationFailedError, "{login}"),
    (errors.UnsupportedSaslMechanismError, "the broker does not offer this `sasl_mechanism`"),
    (errors.IllegalSaslStateError, "the broker expects another `security_protocol`"),
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
    ("SaslAuthenticationFailed", "{login}"),
    (REFUSED, "no token is given: correct `sasl_username`, `sasl_password_file` or `sasl_token_scope`"),
    ("UnsupportedSaslMechanism", "the broker does not offer this `sasl_mechanism`"),
    ("IllegalSaslState", "the broker expects another `security_protocol`"),
    ("ostname mismatch", "the broker's certificate is of another name than `bootstrap_servers` has"),
    ("IP address mismatch", "the broker's certificate is of another address than `bootstrap_servers` has"),
    ("certificate has expired", "the broker's certificate has expired"),
    ("CERTIFICATE_VERIFY_FAILED", "the broker's certificate is not signed by `ssl_cafile`"),
    ("ALERT_CERTIFICATE_EXPIRED", "`ssl_certfile` has expired"),
    ("ALERT_CERTIFICATE_REVOKED", "`ssl_certfile` was revoked"),
    ("ALERT_UNKNOWN_CA", "the broker does not trust who signed `ssl_certfile`"),
    ("ALERT_CERTIFICATE_UNKNOWN", "the broker does not trust who signed `ssl_certfile`"),
    ("ALERT_CERTIFICATE_REQUIRED", "the broker asks for a client certificate it trusts: set `ssl_certfile`"),
    ("ALERT_BAD_CERTIFICATE", "the broker asks for a client certificate it trusts: set `ssl_certfile`"),
    ("ALERT_HANDSHAKE_FAILURE", "the broker asks for another TLS, or for a client certificate"),
    ("KEY_VALUES_MISMATCH", "`ssl_keyfile` is not the key of `ssl_certfile`"),
    ("NO_CERTIFICATE_OR_CRL_FOUND", "`ssl_cafile` holds no certificate"),
    ("BAD_DECRYPT", "`ssl_keyfile` is not encrypted with what `ssl_password_file` holds"),
    ("[SSL] PEM lib",
     "`ssl_certfile` and `ssl_keyfile` hold no certificate and key in PEM, or `ssl_password_file` another's"),
    ("WRONG_VERSION_NUMBER", "the broker does not speak TLS on this port: correct `security_protocol`"),
    ("Invalid frame length", "the port does not speak plaintext Kafka: correct `security_protocol`"),
)  # fmt: skip
"""Traces of a wrong configuration in the client's log, and what they mean."""
_CUT = "socket disconnected"


def classified(error: Exception, options: Addressed) -> ConnectorError:
    """The error as a FatalError (a person must act) or a TransientError (call again), one line."""
    if isinstance(error, ConnectorError):
        return error
    told = " ".join(str(error).split())[:300] or type(error).__name__
    for kind, advice in _ADVICE:
        if isinstance(error, kind):
            meaning = advice.format(group=options.group_id, login=_login(options))
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
            told = meaning.format(login=_login(options))
            return FatalError(f"kafka {options.bootstrap_servers}: {told} ({reason})")
    hint = ""
    if reason and _CUT in reason:
        hint = "; a broker that cuts connections off may expect another `security_protocol`"
    return TransientError(f"kafka {options.bootstrap_servers}: not reached ({reason or 'no answer'}){hint}")


def silence(options: Addressed, reason: str | None, seconds: float) -> TransientError:
    """That no broker is connected any more. Raises FatalError where the client's log says that none will."""
    found = unreachable(options, reason)
    if isinstance(found, FatalError):
        raise found
    why = f" ({reason})" if reason else ""
    return TransientError(
        f"kafka {options.bootstrap_servers}: no connection to any broker for {seconds:g} s{why}"
    )


def _login(options: Addressed) -> str:
    if options.sasl_mechanism == "OAUTHBEARER":
        return "the broker refuses the token: it has expired, or is not one that the broker trusts"
    return "user or password is wrong"


@contextmanager
def last_reason(client_id: str) -> Iterator["LastReason"]:
    """Keeps the last failure that this client logs while it connects: its exception does not tell it.

    The client's log must let warnings of `kafka.net.manager` through, as `daemon.log` sets it up.
    """
    logger = logging.getLogger("kafka.net.manager")
    keeper = LastReason(f"kafka-io-{client_id}")
    logger.addHandler(keeper)
    try:
        yield keeper
    finally:
        logger.removeHandler(keeper)


class LastReason(logging.Handler):
    """The failure that tells most of those that one client's thread logged since it was connected last."""

    def __init__(self, thread: str) -> None:
        super().__init__(logging.WARNING)
        self._thread = thread
        self._reason: str | None = None

    def __call__(self) -> str | None:
        return self._reason

    def forget(self) -> None:
        """A connection was made: what failed before is over."""
        self._reason = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.threadName != self._thread:
            return  # another source's client
        message = " ".join(record.getMessage().split())[:300]
        telling = any(trace in message for trace, _ in _CAUSES)
        known = self._reason is not None and any(trace in self._reason for trace, _ in _CAUSES)
        if "failed" in message and (telling or not known) and not message.startswith("Bootstrap failed"):
            self._reason = message
