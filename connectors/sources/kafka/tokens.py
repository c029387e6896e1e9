"""Tokens for SASL/OAUTHBEARER: from a file that somebody else renews, or from an identity provider.

The provider is asked with the client's credentials (RFC 6749, section 4.4), as Kafka's own clients do
(KIP-768). A token is used again until four fifths of its life are over, and then asked for anew: brokers cut
connections off whose token has expired.
"""

import base64
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import quote_plus, urlencode

from kafka import errors
from kafka.net.sasl.oauth import AbstractTokenProvider

DEADLINE_S = 10.0
USED_SHARE = 0.8
LIFE_S = 300.0
"""Of a token whose provider does not say how long it lasts."""
MOST_BYTES = 1 << 20
REFUSED = "refuses to give a token"
NO_TOKEN = "no token"  # noqa: S105 - what an error says


class FileTokens(AbstractTokenProvider):  # type: ignore[misc]
    """The token that a file holds when it is needed: projected or renewed by the platform."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def token(self) -> str:
        """Raises KafkaConnectionError, one line, where the file cannot be read or holds none."""
        try:
            text = self._path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            raise errors.KafkaConnectionError(f"failed: {NO_TOKEN} in {self._path}: {why}") from None
        return _one_word(text, str(self._path))


@dataclass(frozen=True, slots=True)
class Grant:
    """Whom to ask for a token, as whom, and for what. The secret is in no message."""

    url: str
    client: str
    secret: str = field(repr=False)
    scope: str | None = None
    cafile: Path | None = None
    """Who signs the provider's certificate; None: the system's authorities."""


class GrantedTokens(AbstractTokenProvider):  # type: ignore[misc]
    """Tokens of an identity provider. Used by the client's IO thread alone, which waits meanwhile."""

    def __init__(self, grant: Grant) -> None:
        super().__init__()
        self._grant = grant
        self._token: str | None = None
        self._until = 0.0

    def token(self) -> str:
        """Raises KafkaConnectionError, one line, where there is none to be had."""
        if self._token is None or monotonic() >= self._until:
            asked = monotonic()
            answer = self._asked()
            self._token = _one_word(answer.get("access_token"), self._grant.url)
            self._until = asked + USED_SHARE * _lasts(answer.get("expires_in"))
        return self._token

    def _asked(self) -> dict[str, Any]:
        grant = self._grant
        fields = {"grant_type": "client_credentials"} | ({"scope": grant.scope} if grant.scope else {})
        login = base64.b64encode(f"{quote_plus(grant.client)}:{quote_plus(grant.secret)}".encode()).decode()
        request = urllib.request.Request(  # noqa: S310 - the configuration takes http and https only
            grant.url,
            urlencode(fields).encode(),
            {"Authorization": f"Basic {login}", "Accept": "application/json"},
        )
        context = ssl.create_default_context(cafile=grant.cafile) if grant.url[:6] == "https:" else None
        handlers = [urllib.request.ProxyHandler({}), _NoRedirect()]
        handlers += [urllib.request.HTTPSHandler(context=context)] if context else []
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=DEADLINE_S) as answer:
                found = json.loads(answer.read(MOST_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                said = f"{grant.url} {_meaning(error.code)} ({error.code}{_reason(error.read(MOST_BYTES))})"
            raise errors.KafkaConnectionError(f"failed: {said}") from None
        except (OSError, ValueError) as error:
            why = " ".join(str(error).split())[:200]
            raise errors.KafkaConnectionError(f"failed: {NO_TOKEN} from {grant.url}: {why}") from None
        return found if isinstance(found, dict) else {}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Credentials go where the configuration says, and nowhere else."""

    def redirect_request(self, *_args: Any, **_named: Any) -> None:
        return None


def _meaning(status: int) -> str:
    """Too many requests and a provider's own trouble pass; every other refusal is for a person."""
    return f"gives {NO_TOKEN}" if status in {408, 429} or status >= 500 else REFUSED


def _reason(body: bytes) -> str:
    """The provider's own word for it (RFC 6749, section 5.2), where there is one."""
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    said = found.get("error") if isinstance(found, dict) else None
    return f", {' '.join(said.split())[:80]}" if isinstance(said, str) and said else ""


def _lasts(seconds: object) -> float:
    try:
        return max(0.0, float(str(seconds)))
    except ValueError:
        return LIFE_S


def _one_word(token: object, place: str) -> str:
    """The token, unless it could not be one: it goes into a header made of single bytes."""
    if (
        not isinstance(token, str)
        or not token
        or not token.isascii()
        or not token.isprintable()
        or " " in token
    ):
        raise errors.KafkaConnectionError(f"failed: {NO_TOKEN} in what {place} holds")
    return token
