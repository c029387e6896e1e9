"""The HTTP application: metrics, health, the alert webhook and the status page.

Nothing here waits for the loops, and the webhook has a thread of its own: a slow status page keeps no halt
waiting.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client.exposition import choose_encoder
from starlette.requests import ClientDisconnect

from daemon.clock import Clock
from daemon.errors import RlaifdError, line_of
from daemon.log import Logger
from daemon.metrics.registry import Metrics
from daemon.service.health import Heartbeats, Readiness
from daemon.web.access import Door, Headers, Refusal
from daemon.web.alerts import AlertCounts, Alerts
from daemon.web.crowd import Crowd
from daemon.web.page import Page
from daemon.web.payload import NotAlertmanagerError
from policies.states import AlertResult

MOST_BODY = 1 << 20
MOST_DRAINED = 16 << 20
BODY_S = 9.0
HALT_S = 9.0
MOST_WAITING = 64
"""Payloads that wait for their turn. What was taken in is worked on, also when its sender is gone."""


class Web:
    """Answers the requests. `app` is the ASGI application that a `Listener` serves."""

    def __init__(
        self,
        *,
        status: Callable[[], Mapping[str, Any]],
        alerts: Alerts,
        door: Door,
        metrics: Metrics,
        heartbeats: Heartbeats,
        readiness: Readiness,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._status = status
        self._alerts = alerts
        self._door = door
        self._metrics = metrics
        self._heartbeats = heartbeats
        self._readiness = readiness
        self._clock = clock
        self._log = log
        self._page = Page()
        self._halting = ThreadPoolExecutor(max_workers=1, thread_name_prefix="alerts")
        self._waiting: set[asyncio.Future[AlertCounts]] = set()
        self.app = self._routes()

    def _routes(self) -> FastAPI:
        app = FastAPI(title="rlaifd", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
        app.add_middleware(Crowd)
        app.add_middleware(Headers)
        app.add_exception_handler(RlaifdError, _told)
        for path, endpoint in (
            ("/", self.page),
            ("/style.css", self.style),
            ("/api/v1/status", self.status),
            ("/metrics", self.scrape),
            ("/healthz", self.healthz),
            ("/readyz", self.readyz),
        ):
            app.add_api_route(path, endpoint, methods=["GET", "HEAD"], response_model=None)
        app.add_api_route("/alerts", self.receive, methods=["POST"], response_model=None)
        return app

    async def scrape(self, request: Request) -> Response:
        """The metrics of this process, in the format that the scraper asks for."""
        _refuse(self._door.machine(request))
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._metrics.registry), headers={"content-type": content_type})

    async def healthz(self, request: Request) -> Response:
        """200 while every loop comes round within its bound; 503 names those that do not."""
        _refuse(self._door.machine(request))
        pulses = self._heartbeats.pulses()
        loops = {
            pulse.name: {
                "age_s": round(pulse.age_s, 3),
                "bound_s": pulse.bound_s,
                "failures": pulse.failures,
                "failure": pulse.failure,
            }
            for pulse in pulses
        }
        stuck = [pulse.name for pulse in pulses if pulse.stale]
        return JSONResponse({"ok": not stuck, "stuck": stuck, "loops": loops}, 503 if stuck else 200)

    def readyz(self, request: Request) -> Response:
        """200 once the store answers and every awaited loop did its first step; 503 names what is missing."""
        _refuse(self._door.machine(request))
        missing = self._readiness.missing()
        return JSONResponse({"ok": not missing, "missing": missing}, 503 if missing else 200)

    def page(self, request: Request) -> Response:
        """The state for people."""
        _refuse(self._door.page(request))
        state, code = self._state()
        return Response(self._page.render(state, now=self._clock.now()), code, media_type="text/html")

    def status(self, request: Request) -> Response:
        """The state for programs: what `rlaifd status --json` prints."""
        _refuse(self._door.page(request))
        state, code = self._state()
        return JSONResponse(state, code)

    def style(self) -> Response:
        return Response(self._page.style, media_type="text/css")

    async def receive(self, request: Request) -> Response:
        """Alertmanager's webhook: 2xx only once every halt in it is committed, else 503 so that it is sent
        again; 401 and 403 for strangers, 413 above 1 MB, 400 for what is no Alertmanager payload.
        """
        try:
            refusal = self._door.webhook(request)
        except RlaifdError as error:
            self._log.error("token_unreadable", error=line_of(error))
            return self._unavailable()
        if refusal is not None:
            with suppress(TimeoutError):
                await _body(request, MOST_BODY, keep=False)
            self._metrics.alerts.labels(AlertResult.UNAUTHORIZED).inc()
            _refuse(refusal)
        try:
            body = await _body(request, MOST_DRAINED, keep=True)
        except TimeoutError:
            return self._unavailable()
        if body is None:
            self._metrics.alerts.labels(AlertResult.MALFORMED).inc()
            return JSONResponse({"error": "longer than 1 MB"}, 413, {"connection": "close"})
        try:
            received = await self._take(body)
        except NotAlertmanagerError as error:
            self._metrics.alerts.labels(AlertResult.MALFORMED).inc()
            return JSONResponse({"error": str(error)}, 400)
        except TimeoutError:
            self._log.error("alert_timed_out")
            return self._unavailable()
        return JSONResponse(received.counts, 200 if received.settled else 503)

    async def _take(self, body: bytes) -> AlertCounts:
        """Hands a payload to the thread of the alerts. Raises TimeoutError when the answer is late, which
        does not keep the halts from being stored, or when too many wait.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise TimeoutError
        turn = asyncio.get_running_loop().run_in_executor(self._halting, self._alerts.receive, body)
        self._waiting.add(turn)
        turn.add_done_callback(self._had_its_turn)
        async with asyncio.timeout(HALT_S):
            return await asyncio.shield(turn)

    def _had_its_turn(self, turn: asyncio.Future[AlertCounts]) -> None:
        self._waiting.discard(turn)
        if not turn.cancelled():
            turn.exception()  # told to its sender, who may be gone

    def _unavailable(self) -> Response:
        self._metrics.alerts.labels(AlertResult.UNAVAILABLE).inc()
        return JSONResponse({"error": "the halt could not be stored: send it again"}, 503)

    def _state(self) -> tuple[Mapping[str, Any], int]:
        """The status object, with what only the running daemon knows among its conditions."""
        loops = self._heartbeats.conditions()
        try:
            state = self._status()
        except RlaifdError as error:
            return {"conditions": [line_of(error), *loops]}, 503
        return {**state, "conditions": [*state.get("conditions", ()), *loops]}, 200


def _told(request: Request, error: Exception) -> Response:
    del request
    return JSONResponse({"error": line_of(error)}, 503)


def _refuse(refusal: Refusal | None) -> None:
    if refusal == 401:
        challenge = {"www-authenticate": 'Basic realm="rlaifd"', "connection": "close"}
        raise HTTPException(401, "a token is needed", challenge)
    if refusal == 403:
        raise HTTPException(
            403, "not under this name (web.names) or from this origin", {"connection": "close"}
        )


async def _body(request: Request, most: int, *, keep: bool) -> bytes | None:
    """The body; None when it is above the cap or not wanted, which is read to be polite and thrown away.

    A sender that is cut off in the middle sees a broken connection instead of the answer: so at most `most`
    bytes are taken in, while never more than the cap is held. Raises TimeoutError when it takes too long.
    """
    chunks: list[bytes] | None = [] if keep else None
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > most:
                    return None
                if size > MOST_BODY:
                    chunks = None
                if chunks is not None:
                    chunks.append(chunk)
    except ClientDisconnect:
        return None
    return None if chunks is None else b"".join(chunks)
