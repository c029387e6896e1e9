"""A chat completions endpoint on loopback whose answers a test scripts."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Reply:
    """What the endpoint sends."""

    content: str | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    delay_s: float = 0.0
    finish: str | None = None
    more: dict[str, Any] = field(default_factory=dict)
    """Further keys of the message."""


class ChatEndpoint:
    """Serves `/v1/chat/completions`; `reply(number, request)` decides. `seen` keeps the requests."""

    def __init__(self, reply: Callable[[int, dict[str, Any]], Reply]) -> None:
        self.reply = reply
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                endpoint.handle(self)

            def log_message(self, *_args: Any) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        request = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            number = len(self.seen)
            self.seen.append(request)
            self.keys.append(handler.headers["Authorization"])
        reply = self.reply(number, request)
        time.sleep(reply.delay_s)
        message = {"role": "assistant", "content": reply.content, "tool_calls": reply.tool_calls or None}
        choice = {"message": message | reply.more, "finish_reason": reply.finish}
        body = reply.body
        if body is None:
            body = json.dumps({"model": "served", "choices": [choice]}).encode()
        try:
            handler.send_response(reply.status)
            for name, value in reply.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
