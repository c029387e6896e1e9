"""How long a connection may take: to send a whole request, and to take its answer.

uvicorn bounds only the time between an answer and the next request, and counts every connection against its
limit. Whoever can connect could so keep the alerts out with connections that say nothing.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 10.0
"""For a whole request, body included: from the connection, or from the answer before."""
ANSWER_S = 60.0
"""From the whole request until its answer is written; what then stays unread goes with the next wait."""
MOST_IDLE = 256
"""Connections without a whole request. One more closes the oldest of them: none is ever turned away."""


class Patient(H11Protocol):
    """One connection, which is cut off when it takes too long."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._end: asyncio.TimerHandle | None = None
        self.idle = True
        self.since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(idle=True)
        idle = [each for each in self.connections if isinstance(each, Patient) and each.idle]
        if len(idle) > MOST_IDLE:
            min(idle, key=lambda each: each.since).cut()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP. Where an answer is under way, or was given, the connection just ends."""
        answered = self.cycle is not None and self.cycle.response_started
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if answered or self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.close()
        else:
            super().send_400_response(msg)

    def cut(self) -> None:
        """Ends the connection at once, whatever is still unsent."""
        self._stop()
        self.transport.abort()

    def _look(self) -> None:
        """Begins another wait where a request became whole, or the next one is due."""
        idle = self.conn.their_state in {h11.IDLE, h11.SEND_BODY}
        if idle != self.idle:
            self._wait(idle=idle)

    def _wait(self, *, idle: bool) -> None:
        self._stop()
        self.idle, self.since = idle, self.loop.time()
        self._end = self.loop.call_later(REQUEST_S if idle else ANSWER_S, self.cut)

    def _stop(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None
