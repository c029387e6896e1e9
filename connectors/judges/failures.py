"""What an HTTP answer of a judge's provider means for the caller: wait, give this one up, or stop."""

import json
import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from connectors.errors import ConnectorError, FatalError, PoisonError, RateLimitedError, TransientError

MAX_RETRY_AFTER_S = 3600.0

NEEDS_A_PERSON = frozenset(
    {
        "insufficient_quota",
        "model_not_found",
        "invalid_api_key",
        "billing_hard_limit_reached",
        "unsupported_parameter",
        "unsupported_value",
        "unknown_parameter",
    }
)
"""Error codes that every further call would get too, whatever their status says."""


def failure(
    judge: str, status: int, *, headers: Mapping[str, str], body: object, now: float
) -> ConnectorError:
    """The error for an HTTP status that is no success. Credentials are not quoted: providers echo keys."""
    code, message = _code_and_message(body)
    if status in {401, 403} or code == "invalid_api_key":
        return FatalError(f"judge {judge}: HTTP {status}: the credentials are refused: check api_key")
    text = f"judge {judge}: HTTP {status}: {' '.join(message.split())[:200] or 'no reason given'}"
    if code in NEEDS_A_PERSON or status in {402, 404, 410} or status < 400:
        return FatalError(text)
    if status in {429, 529}:
        return RateLimitedError(text, retry_after(headers, now=now))
    if status in {408, 409, 425} or status >= 500:
        return TransientError(text)
    return PoisonError(text)


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


def _code_and_message(body: object) -> tuple[str, str]:
    """The error object of either provider; some SDKs hand over what is inside `error`."""
    if not isinstance(body, dict):
        return "", ""
    inner: Any = body.get("error", body)
    if not isinstance(inner, dict):
        return "", str(inner)
    code = inner.get("code") or inner.get("type") or ""
    return str(code), str(inner.get("message") or "")


def object_of(judge: str, content: bytes) -> dict[str, Any]:
    """A successful answer's JSON object. Raises TransientError: the next one may be whole."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise TransientError(f"judge {judge}: the response is not a JSON object")
    return found
