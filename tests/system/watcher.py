"""Who asks `/alerts` every second, as Alertmanager does while something is wrong."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException

from tests.daemon.web.site import alert

PATIENCE_S = 10.0
"""Of whoever sends an alert."""


@dataclass
class Watcher:
    """Sends the same alert, which halts training, and notes what it is told."""

    port: int
    answers: list[tuple[int, float]] = field(default_factory=list)
    """The status and the seconds it took; status 0: no answer at all."""
    _end: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self) -> Iterator["Watcher"]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield self
        finally:
            self._end.set()
            thread.join()

    def _watch(self) -> None:
        body = json.dumps({"version": "4", "alerts": [alert("training")]})
        while not self._end.is_set():
            started = time.monotonic()
            self.answers.append((self._ask(body), time.monotonic() - started))
            self._end.wait(max(0.0, started + 1 - time.monotonic()))

    def _ask(self, body: str) -> int:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=6 * PATIENCE_S)
        try:
            connection.request("POST", "/alerts", body=body, headers={"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()
