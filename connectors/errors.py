"""What can go wrong at an outside system, as types.

ConnectorError
├── TransientError     wait and try again: the same call may succeed
│   ├── RateLimitedError   … after `retry_after_s`
│   ├── UnreadableError    … it was served, maybe billed, and not understood: again, but not for ever
│   └── LearntError        … at once: the refusal taught how to ask
├── DoubtfulError      refused, and the words do not tell whether it is the item or every call
├── PoisonError        this item will never succeed: dead letter or abstention, go on
│   └── DecodeError
│       └── UnknownFormatError   no decoder knows it: perhaps the wrong decoder
└── FatalError         no item will succeed until a person acts: stop and say so
"""

from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Received:
    """What the other side sent although the call failed. `served`: it worked for it, and may bill it; the
    tokens are those that it says it bills (None: it does not say).
    """

    body: Any
    served: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None


class ConnectorError(Exception):
    """The base: something at an outside system went wrong. `received` is what came all the same, if anything
    did.
    """

    received: Received | None = None

    def having(self, received: Received | None) -> Self:
        """The same error with what came."""
        self.received = received
        return self


class TransientError(ConnectorError):
    """Try again later, within a budget."""


class RateLimitedError(TransientError):
    """The other side asked for fewer calls. `retry_after_s` is its wish, or None."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnreadableError(TransientError):
    """An answer came and is not understood. Another may be; each may cost money, so not without an end."""


class LearntError(TransientError):
    """The other side refused how it was asked, and said so: the next call is made as it wants."""


class DoubtfulError(ConnectorError):
    """Refused in words that do not tell whether this item is at fault or every call will be refused. Whoever
    knows what became of other calls can tell.
    """


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
