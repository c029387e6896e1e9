"""What an answer of a judge's provider that is no judgement means: wait, give this one up, stop, or find out.

`connectors.http` says what happened. Credit, keys, models and settings are every call's, moderation is the
item's. A refusal in other words, or for its length, is in doubt: whoever knows of the other calls decides.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.errors import (
    ConnectorError,
    DoubtfulError,
    FatalError,
    PoisonError,
    RateLimitedError,
    Received,
    TransientError,
    UnreadableError,
)
from connectors.http import Failure, failure_of, is_elsewhere, retry_after
from connectors.judges.dialect import setting_of
from connectors.refusals import Refusal, masked, masked_body, refusal_of

MAX_KEPT = 4_000
"""Most characters kept of an answer that is no JSON."""

STATUS_OF: Mapping[str, int] = {
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "invalid_request_error": 400,
    "billing_error": 402,
    "api_error": 500,
    "timeout_error": 504,
    "server_error": 500,
}
"""The HTTP status of an error that came with another one, by its code or type."""


@dataclass(frozen=True, slots=True)
class AskedJudge:
    """Who was asked, and where: the judge's name, which is its key in the configuration, and `POST url`."""

    judge: str
    where: str = ""
    secrets: Sequence[str] = ()


def failure(
    asked: AskedJudge, status: int, *, headers: Mapping[str, str], body: object, now: float
) -> ConnectorError:
    """The error for an HTTP status that is no success, with the provider's words, keys masked, and the key of
    the configuration to look at where a person has to act. `body` is the parsed body, or its text.
    """
    refusal = refusal_of(body)
    error = _sorted(asked, status, refusal, retry_after(headers, now=now))
    return error.having(Received(masked_body(body, asked.secrets)))


def failure_in_body(asked: AskedJudge, body: Mapping[str, Any], said: object) -> ConnectorError:
    """The error for a success whose body says that it is none, sorted like the status that it names. Without
    one it is an outage. `said` is what the body says of it. What it cost is the caller's to add.
    """
    refusal = refusal_of(said)
    status = next((found for code in sorted(refusal.codes) if (found := _status(code)) is not None), None)
    if status is None:
        status = 402 if refusal.matter == "credit" else 403 if refusal.matter == "moderation" else 503
    return _sorted(asked, status, refusal, None).having(Received(masked_body(dict(body), asked.secrets)))


def _status(code: str) -> int | None:
    if code.isascii() and code.isdigit() and len(code) == 3 and 300 <= int(code) < 600:
        return int(code)
    return STATUS_OF.get(code)


def _sorted(asked: AskedJudge, status: int, refusal: Refusal, wait_s: float | None) -> ConnectorError:
    text = f"judge {asked.judge}: HTTP {status}: {refusal.words(asked.secrets)}"
    found = failure_of(status, refusal, wait_s)
    match found:
        case Failure.MODERATED:
            return PoisonError(text)
        case Failure.CREDIT:
            return FatalError(f"{text}: see to the account of judges.{asked.judge}.api_key_file")
        case Failure.OVERLOAD:
            return RateLimitedError(text, wait_s)
        case Failure.OUTAGE:
            return TransientError(text)
        case Failure.LENGTH:
            return DoubtfulError(text)  # a limit that is set too high makes the shortest prompt too long
    if is_elsewhere(status):
        where = f"asked {asked.where}: {status}" if asked.where else f"HTTP {status}"
        text = f"judge {asked.judge}: {where}: {refusal.words(asked.secrets)}"
    advice = _advice(f"judges.{asked.judge}", found, refusal)
    return DoubtfulError(text) if advice is None else FatalError(f"{text}: {advice}")


def _advice(judge: str, found: Failure, refusal: Refusal) -> str | None:
    """What to change for a refusal that every call gets; None where it may be the item's."""
    always = {
        Failure.KEY: f"check {judge}.api_key_file",
        Failure.RIGHTS: f"see to the account and the rights of {judge}.api_key_file",
        Failure.ADDRESS: f"check {judge}.base_url and model",
    }
    if found in always:
        return always[found]
    setting = setting_of(refusal)
    if setting is not None:
        return setting.advice(judge)
    return {"model": f"check {judge}.model", "setting": f"check {judge}"}.get(refusal.matter or "")


def object_of(asked: AskedJudge, content: bytes) -> dict[str, Any]:
    """A successful answer's JSON object. Raises TransientError for nothing and for a page: a proxy's, and the
    next one may be the judge's; UnreadableError for anything else, which the judge may have been paid for.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    text = content[:MAX_KEPT].decode("utf-8", "replace")
    page = text.lstrip().startswith("<")
    kind = TransientError if page or not text.strip() else UnreadableError
    said = "a page" if page else "nothing" if not text.strip() else "not a JSON object"
    received = Received({"text": masked(text, asked.secrets)}, served=kind is UnreadableError)
    raise kind(f"judge {asked.judge}: the response is {said}").having(received)
