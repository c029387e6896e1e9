"""A judge's provider on loopback that answers each request with a status and a body of the test's choice."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Reply = tuple[int, Any]


@dataclass
class Provider:
    """Use as a context manager. `answer` gets the request's body; `seen` keeps every one."""

    answer: Callable[[Mapping[str, Any]], Reply]
    seen: list[Mapping[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with provider._lock:
                    provider.seen.append(asked)
                status, body = provider.answer(asked)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_request(self, code: object = "-", size: object = "-") -> None:
                """Tests read `seen` instead."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


VERDICT = (
    '{"critique": "Right place, no date.", "scores": {"helpful": 7, "correct": 7, "safe": 7, "clear": 7}, '
    '"score": 7}'
)


def completion(content: Any = VERDICT, *, usage: Any = None, logprobs: Any = None, **choice: Any) -> Reply:
    """A chat completion; `choice` changes its only choice."""
    billed = {"prompt_tokens": 900, "completion_tokens": 60, "total_tokens": 960}
    message = {"role": "assistant", "content": content}
    one = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": logprobs, **choice}
    return 200, {"id": "c", "model": "judge-1", "choices": [one], "usage": usage or billed}


def refusal(message: str, *, status: int = 400, **more: Any) -> Reply:
    """An error as OpenAI words it."""
    return status, {"error": {"message": message, "type": "invalid_request_error", **more}}
