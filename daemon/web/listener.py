"""The HTTP listener: uvicorn with its own event loop in its own thread."""

import logging
import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from daemon.errors import RlaifdError
from daemon.log import Logger
from daemon.web.patience import Patient

BACKLOG = 256
"""Connections that may wait to be accepted, and that are accepted at one go."""
IDLE_S = 5


class Listener:
    """Serves an application on one address. Port 0 takes a free one: `port` names it after `start`."""

    def __init__(self, app: ASGIApp, *, host: str, port: int, log: Logger) -> None:
        self._app = app
        self._host = host
        self._log = log
        self.port = port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Binds at once and serves from a thread. Raises RlaifdError when the address cannot be had."""
        bound = self._bind()
        self.port = bound.getsockname()[1]
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it greets at info and warns of bad input
        config = uvicorn.Config(
            self._app,
            http=Patient,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=IDLE_S,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [bound]}, name="web", daemon=True
        )
        self._thread.start()
        self._log.info("listener_started", host=self._host, port=self.port)

    def stop(self, timeout_s: float) -> None:
        """Answers what is under way and closes the address. Can be called twice."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(timeout_s)

    def _bind(self) -> socket.socket:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self._host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            bound = socket.socket(family, kind, protocol)
        except OSError as error:
            raise self._unavailable(error) from None
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(BACKLOG)
        except OSError as error:
            bound.close()
            raise self._unavailable(error) from None
        return bound

    def _unavailable(self, error: OSError) -> RlaifdError:
        return RlaifdError(f"web.host {self._host}, web.port {self.port}: {error.strerror}: choose another")
