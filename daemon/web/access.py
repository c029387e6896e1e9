"""Who may come in: host names, tokens, and the headers that every answer carries.

* Pages answer only to IP addresses, `localhost` and configured names: a page of another site whose name was
  re-bound to this address arrives under that site's name.
* Metrics and health answer to these and to names without a dot, as a compose file or a cluster gives them:
  nobody can own such a name in the public name system.
* Over loopback the pages are open. Over any other address they ask for the token.
* The webhook asks for the token wherever one is set, and without one is open over loopback only. Browsers
  name their origin on every POST; Alertmanager has none.
"""

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Callable, Collection
from typing import Literal

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}

Refusal = Literal[401, 403]


class Door:
    """Decides for one listener. `token()` reads the token, so that a rewritten token file counts at once."""

    def __init__(self, *, token: Callable[[], str | None], names: Collection[str] = ()) -> None:
        self._token = token
        self._names = {name.casefold() for name in names} | {"localhost"}

    def page(self, request: Request) -> Refusal | None:
        """None lets the reader of a page in."""
        if not self._is_ours(request.headers.get("host", "")):
            return 403
        if _over_loopback(request) or self._bears_token(request):
            return None
        return 401

    def machine(self, request: Request) -> Refusal | None:
        """None lets whoever asks for metrics or health in."""
        host = request.headers.get("host", "")
        return None if self._is_ours(host) or "." not in _without_port(host) else 403

    def webhook(self, request: Request) -> Refusal | None:
        """None lets the sender of alerts in. Raises ConfigError when the token's file cannot be read."""
        if "origin" in request.headers:
            return 403
        if self._token() is None and _over_loopback(request):
            return None
        return None if self._bears_token(request) else 401

    def _bears_token(self, request: Request) -> bool:
        token = self._token()
        if not token:
            return False
        presented = _credentials(request.headers.get("authorization", "").encode("latin-1", "replace"))
        return hmac.compare_digest(presented, token.encode())

    def _is_ours(self, host: str) -> bool:
        name = _without_port(host)
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.casefold() in self._names
        return True


class Headers:
    """ASGI middleware that puts `HEADERS` on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def _send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._added]
            await send(message)

        await self._app(scope, receive, _send)


def _credentials(header: bytes) -> bytes:
    """The bearer token, or the password of basic authentication, which is what browsers can send."""
    scheme, _, value = header.partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _over_loopback(request: Request) -> bool:
    """The address that the connection came in on, which the sender cannot choose freely."""
    server = request.scope.get("server")
    try:
        address = ipaddress.ip_address(server[0] if server else "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
