"""An identity provider on loopback: gives a token to whoever knows the secret (RFC 6749, section 4.4)."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus

CLIENT, SECRET = "rlaifd client", "s3cret:%"
Answer = tuple[int, bytes]


class Provider:
    """`answers` come first, one a request; then a token of `make` for the client. `asked` keeps the forms."""

    def __init__(self, make: Callable[[], str], lasts_s: float = 600.0) -> None:
        self._make, self._lasts_s = make, lasts_s
        self.answers: list[Answer] = []
        self.asked: list[dict[str, list[str]]] = []
        self.url = ""

    @contextmanager
    def serving(self) -> Iterator["Provider"]:
        """Answers while inside."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                provider.asked.append(parse_qs(body))
                status, told = provider.answer(self.headers["Authorization"])
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", provider.url)
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *_told: Any) -> None:
                """Says nothing."""

        with HTTPServer(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_port}/token"
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()

    def answer(self, login: str) -> Answer:
        """What is said to whoever logs in so."""
        if self.answers:
            return self.answers.pop(0)
        words = base64.b64decode(login.removeprefix("Basic ")).decode().split(":")
        if [unquote_plus(word) for word in words] != [CLIENT, SECRET]:
            return 401, b'{"error": "invalid_client"}'
        token = {"access_token": self._make(), "token_type": "bearer", "expires_in": self._lasts_s}
        return 200, json.dumps(token).encode()
