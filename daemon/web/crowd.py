"""How many requests are worked on at once. Alerts, metrics and health are not counted: they wait for no
thread of the pages, and no crowd keeps a halt waiting.
"""

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

MOST_REQUESTS = 64
UNCOUNTED = frozenset({"/alerts", "/metrics", "/healthz"})


class Crowd:
    """ASGI middleware that answers 503 to a request beyond the most."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNCOUNTED:
            await self._app(scope, receive, send)
        elif self._inside >= MOST_REQUESTS:
            busy = PlainTextResponse("too many requests at once: ask again", 503, {"retry-after": "1"})
            await busy(scope, receive, send)
        else:
            self._inside += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._inside -= 1
