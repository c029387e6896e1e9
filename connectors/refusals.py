"""What a provider says when it refuses: the words, in whatever shape the body has, and what they speak of."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

MAX_WORDS = 160
"""Most characters of a provider's words that are quoted."""
MAX_READ = 4_000
"""Most characters of a provider's words that are looked at."""
DEEPEST = 6
"""Levels of a body that are looked into."""

Matter = Literal["moderation", "credit", "length", "key", "model", "setting"]

_KEY_LIKE = re.compile(
    r"(?i)\bbearer\s+\S+|\b(?:sk|pk|rk|gsk|xai|hf|nvapi|pplx|r8)[-_][\w*.\-]{6,}|\bAIza[\w*\-]{8,}"
)
_CODES: Mapping[str, Matter] = {
    "insufficient_quota": "credit",
    "insufficient_balance": "credit",
    "insufficient_credits": "credit",
    "billing_hard_limit_reached": "credit",
    "billing_not_active": "credit",
    "billing_error": "credit",
    "budget_exceeded": "credit",
    "exceeded_current_quota_error": "credit",
    "account_deactivated": "credit",
    "1113": "credit",
    "invalid_api_key": "key",
    "authentication_error": "key",
    "unauthorized": "key",
    "model_not_found": "model",
    "model_not_available": "model",
    "unsupported_parameter": "setting",
    "unsupported_value": "setting",
    "unknown_parameter": "setting",
    "extra_forbidden": "setting",
    "context_length_exceeded": "length",
    "string_above_max_length": "length",
    "request_too_large": "length",
    "content_filter": "moderation",
    "content_policy_violation": "moderation",
    "responsibleaipolicyviolation": "moderation",
    "moderation_blocked": "moderation",
    "data_inspection_failed": "moderation",
    "prompt_blocked": "moderation",
    "1301": "moderation",
}
_SPOKEN: Mapping[Matter, tuple[str, ...]] = {
    "moderation": (
        r"requires moderation|was flagged|content (management )?polic|content filter|inappropriate content",
        r"blocked by (the )?(safety|moderation)|safety (system|filter)|usage polic",
    ),
    "length": (
        r"context (length|window)|maximum context|(prompt|input|request) (is )?too (long|large)",
        r"input (tokens )?exceed|reduce the length|maximum (input|prompt|sequence) length",
    ),
    "credit": (
        r"credit balance|insufficient (account )?(balance|credit|fund|quota)",
        r"balance .{0,30}(insufficient|too low|not enough|exhausted|negative)|余额不足|欠费",
        r"not enough (credit|balance|fund)|budget has been exceeded|out of credit",
        r"exceeded (your|the|its) (current |monthly |daily )*(quota|budget|spend)",
        r"(add|buy|purchase|requires more) (more )?credits|payment required|in arrears|recharge",
        r"billing (is |hard |account |not |details)|spend(ing)? limit",
        r"account .{0,60}(suspended|deactivated)",
    ),
    "key": (
        r"(invalid|incorrect|expired|disabled|revoked|missing|no) (api[ _-]?key|token|credential)",
        r"api[ _-]?key .{0,40}(invalid|incorrect|expired|disabled|revoked|not valid|not found)",
    ),
    "model": (
        r"model\b.{0,80}(not found|does not exist|not exist|not available|unavailable|no access)",
        r"model\b.{0,80}(retired|decommissioned|not a valid)",
        r"model\b.{0,40}(is|was) (deprecated|not supported)",
        r"(unknown|invalid|no such|unsupported) model|not a valid model",
    ),
}
_WORDS = {matter: re.compile("|".join(said), re.IGNORECASE) for matter, said in _SPOKEN.items()}
"""What a message is about, first match first."""
_OWES = re.compile(
    r"(?i)insufficient|balance|余额不足|欠费|arrears|recharge|out of credit|payment required|budget has been"
)
_RETRY = re.compile(r"(?i)(retry|try again) (in|after) |per (minute|second|min)\b|rate limit")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A provider's words. `codes` are lower case; `param` is the setting it names, or ""."""

    message: str = ""
    codes: frozenset[str] = frozenset()
    param: str = ""
    moderated: bool = False

    @property
    def matter(self) -> Matter | None:
        """What it is about; None where that is not said in words that are known."""
        if self.moderated:
            return "moderation"
        by_code = [_CODES[code] for code in sorted(self.codes) if code in _CODES]
        if by_code and by_code[0] != "setting":
            return by_code[0]
        found = next((matter for matter, words in _WORDS.items() if words.search(self.message)), None)
        return found or next(iter(by_code), None)

    @property
    def says_money_is_gone(self) -> bool:
        """By its code, or in words that no rate limit is told in."""
        return (
            any(_CODES.get(code) == "credit" for code in self.codes) or _OWES.search(self.message) is not None
        )

    @property
    def asks_to_wait(self) -> bool:
        """It speaks of a rate, and not of money that is gone."""
        return _RETRY.search(self.message) is not None

    def words(self, secrets: Sequence[str] = ()) -> str:
        """One line to quote, keys masked."""
        text = " ".join(masked(self.message, secrets).split())
        if len(text) > MAX_WORDS:
            text = f"{text[:MAX_WORDS]}…"
        return text or " ".join(sorted(self.codes))[:MAX_WORDS] or "no reason given"


def masked(text: str, secrets: Sequence[str] = ()) -> str:
    """The text without the secrets and without what looks like a key: providers echo them."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return _KEY_LIKE.sub("***", text)


def masked_body(value: Any, secrets: Sequence[str] = (), depth: int = 0) -> Any:
    """A JSON value with every text masked; what is nested very deeply as text."""
    if isinstance(value, str):
        return masked(value, secrets)
    if depth > 4 * DEEPEST:
        return masked(str(value)[:MAX_WORDS], secrets)
    if isinstance(value, Mapping):
        return {
            masked(str(key), secrets): masked_body(each, secrets, depth + 1) for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked_body(each, secrets, depth + 1) for each in value]
    return value


def parsed(content: bytes) -> Any:
    """An error's body: JSON, or its text where it is none; None for a page."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        text = content[:2_000].decode("utf-8", "replace").strip()
        return None if text.startswith("<") else text


def refusal_of(body: object) -> Refusal:
    """Reads `error` as object or text, `detail`, lists, `message` at the top, and what gateways wrap."""
    found = _Found()
    found.look(body, 0)
    return Refusal(found.message, frozenset(found.codes), found.param, found.moderated)


class _Found:
    """What is gathered from a body: the innermost message, all codes, the first setting named."""

    def __init__(self) -> None:
        self.message = ""
        self.codes: set[str] = set()
        self.param = ""
        self.moderated = False

    def look(self, value: object, depth: int) -> None:
        if depth > DEEPEST:
            return
        if isinstance(value, str):
            self.message = self.message or value[:MAX_READ]
        elif isinstance(value, list):
            for each in value[:DEEPEST]:
                self.look(each, depth + 1)
        elif isinstance(value, Mapping):
            self._object(value, depth)

    def _object(self, value: Mapping[Any, Any], depth: int) -> None:
        for key in ("error", "detail", "errors", "fault", "base_resp", "innererror"):
            self.look(value.get(key), depth + 1)
        for key in ("message", "msg", "status_msg", "error_description", "reason"):
            self.look(value.get(key), depth + 1)
        for key in ("code", "type", "status", "status_code"):
            code = value.get(key)
            if isinstance(code, str | int) and not isinstance(code, bool):
                self.codes.add(str(code).lower()[:100])
        location = value.get("loc")
        named = location[-1] if isinstance(location, list) and location else value.get("param")
        if isinstance(named, str) and not self.param:
            self.param = named[:100]
        self._metadata(value.get("metadata"), depth)

    def _metadata(self, metadata: object, depth: int) -> None:
        """OpenRouter's: reasons of a moderation, or the answer of the provider behind it as text."""
        if not isinstance(metadata, Mapping):
            return
        self.moderated = self.moderated or bool(metadata.get("reasons"))
        raw = metadata.get("raw")
        if isinstance(raw, str):
            inner = (
                refusal_of(parsed(raw[:MAX_READ].encode("utf-8", "replace")))
                if depth < DEEPEST
                else Refusal()
            )
            self.message = inner.message or self.message
            self.codes |= inner.codes
            self.param = self.param or inner.param
