"""What can go wrong at an outside system, as types.

ConnectorError
├── TransientError     wait and try again: the same call may succeed
│   └── RateLimitedError   … after `retry_after_s`
├── PoisonError        this item will never succeed: dead letter or abstention, go on
│   └── DecodeError
│       └── UnknownFormatError   no decoder knows it: perhaps the wrong decoder
└── FatalError         no item will succeed until a person acts: stop and say so
"""


class ConnectorError(Exception):
    """The base: something at an outside system went wrong."""


class TransientError(ConnectorError):
    """Try again later, within a budget."""


class RateLimitedError(TransientError):
    """The other side asked for fewer calls. `retry_after_s` is its wish, or None."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PoisonError(ConnectorError):
    """The item is at fault; trying it again cannot help."""


class DecodeError(PoisonError):
    """The bytes are not an event that any configured decoder understands.

    `body` is the event's own bytes where a record holds many, else None: the record's.
    """

    def __init__(self, message: str, body: bytes | None = None) -> None:
        super().__init__(message)
        self.body = body


class UnknownFormatError(DecodeError):
    """No decoder knows what this is. Many of them mean a wrong decoder, or a log of something else."""


class FatalError(ConnectorError):
    """Credentials, configuration or a missing thing: one clear line, and stop."""
