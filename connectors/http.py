"""What an HTTP answer that is no success means, whoever was asked and whatever for.

Where the provider's words tell, they decide; else the status does (RFC 9110, section 15; 529 is Anthropic's
"overloaded"). What follows (wait, give one item up, stop, and which key of the configuration to change) is
decided by whoever asked.
"""

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import StrEnum

from connectors.refusals import Refusal

MAX_RETRY_AFTER_S = 3600.0
OVERLOADED = frozenset({429, 529})
PASSING = frozenset({408, 409, 425})
"""Statuses below 500 of what may be over the next time."""
MISSING = frozenset({404, 405, 410})


class Failure(StrEnum):
    """Why there is no answer."""

    MODERATED = "moderated"
    """This item may not be said."""
    CREDIT = "credit"
    """The account is empty or closed."""
    OVERLOAD = "overload"
    """Fewer calls are wanted."""
    OUTAGE = "outage"
    """The same call may succeed later."""
    LENGTH = "length"
    """This item is too long, or a limit is set too high."""
    KEY = "key"
    """The credentials are missing or wrong."""
    RIGHTS = "rights"
    """The credentials are known, and do not suffice."""
    ADDRESS = "address"
    """Nothing that answers such requests is there."""
    OTHER = "other"
    """Refused: the item or every call, which the status does not tell."""


def failure_of(status: int, refusal: Refusal, wait_s: float | None = None) -> Failure:
    """What the status means with the provider's words; `wait_s` is its wish for a pause, if it has one."""
    matter = refusal.matter
    if status < 500 and matter == "moderation":
        return Failure.MODERATED
    # Providers tell a rate limit and an empty account with the same status, and both speak of a quota.
    waits = status in OVERLOADED and (refusal.asks_to_wait or wait_s is not None)
    gone = matter == "credit" and (refusal.says_money_is_gone or not waits)
    if status == 402 or (gone and status < 500):
        return Failure.CREDIT
    if status in OVERLOADED:
        return Failure.OVERLOAD
    if status in PASSING or status >= 500:
        return Failure.OUTAGE
    return _refused(status, refusal)


def _refused(status: int, refusal: Refusal) -> Failure:
    """A refusal that is no outage and speaks neither of money nor of what may not be said."""
    if status == 413 or (refusal.matter == "length" and status not in {401, 403, 404}):
        return Failure.LENGTH
    if status == 401 or refusal.matter == "key":
        return Failure.KEY
    if status == 403:
        return Failure.RIGHTS
    return Failure.ADDRESS if is_elsewhere(status) else Failure.OTHER


def is_elsewhere(status: int) -> bool:
    """Whether the status says that the address is another's, or nobody's."""
    return status in MISSING or status < 400


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` (seconds or a date); None where not said."""
    milliseconds = _finite(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    said = headers.get("retry-after")
    seconds = _finite(said)
    if seconds is not None:
        return _bounded(seconds)
    if said is None:
        return None
    try:
        return _bounded(parsedate_to_datetime(said).timestamp() - now)
    except ValueError:
        return None


def _bounded(seconds: float) -> float:
    return min(max(0.0, seconds), MAX_RETRY_AFTER_S)


def _finite(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
