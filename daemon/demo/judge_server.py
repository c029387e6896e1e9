"""A loopback server that speaks OpenAI's chat completions and plays the judges.

`python -m daemon.demo.judge_server` prints its port as one JSON line and ends when its stdin ends. It is a
simulation and says so: at the start, and in each response's `system_fingerprint`. The model name picks the
judge.
"""

import argparse
import json
import math
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from daemon.demo.simulated_judge import TEMPERS, SimulatedJudge, distribution, pair_reply, score_reply
from policies.judging.prompts import ParsedCase, cases_in

FINGERPRINT: Final = "rlaifd-demo-simulation"
PATH: Final = "/v1/chat/completions"
CHARS_PER_TOKEN: Final = 4
MAX_BODY: Final = 1 << 20

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class RefusedRequestError(Exception):
    """The request cannot be answered: HTTP status and one line."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def complete(request: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The response to a chat completion request. Raises RefusedRequestError."""
    model = request.get("model")
    if model not in TEMPERS:
        raise RefusedRequestError(404, f"no such model: {model}; this simulation plays {', '.join(TEMPERS)}")
    messages = request.get("messages") or []
    asked = [message for message in messages if message.get("role") == "user"]
    try:
        case = cases_in(asked[0]["content"])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise RefusedRequestError(400, f"no case to judge: {error}") from None
    text, logprobs = _judged(SimulatedJudge(model, seed), case)
    prompt_tokens = sum(len(str(message.get("content"))) for message in messages) // CHARS_PER_TOKEN
    completion_tokens = len(text) // CHARS_PER_TOKEN
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "finish_reason": "stop",
        "logprobs": {"content": logprobs} if request.get("logprobs") and logprobs else None,
    }
    return {
        "id": "chatcmpl-simulated",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "system_fingerprint": FINGERPRINT,
        "choices": [choice],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


def _judged(judge: SimulatedJudge, case: ParsedCase) -> tuple[str, list[dict[str, Any]]]:
    """The reply's text and, for a score, its tokens with their alternatives."""
    prompt = next((turn.text for turn in reversed(case.turns) if turn.role == "user"), "")
    if case.kind == "pair":
        return json.dumps(pair_reply(judge, prompt, case.answers, case.dimensions)), []
    reply, score = score_reply(judge, prompt, case.answers[0], case.dimensions)
    text = json.dumps(reply)
    ending = f"{score}}}"
    chances = distribution(judge.opinion(prompt, case.answers[0]))
    alternatives = {str(value): math.log(max(chance, 1e-9)) for value, chance in chances.items()}
    tokens = [
        _token(text.removesuffix(ending), {}),
        _token(str(score), alternatives),
        _token("}", {}),
    ]
    return text, tokens


def _token(text: str, alternatives: Mapping[str, float]) -> dict[str, Any]:
    known = alternatives or {text: 0.0}
    likely_first = sorted(known, key=known.__getitem__, reverse=True)
    top = [{"token": token, "logprob": known[token], "bytes": None} for token in likely_first]
    return {"token": text, "logprob": known[text], "bytes": None, "top_logprobs": top}


def application(seed: int) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The ASGI application."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            status, body = 200, complete(await _request(scope, receive), seed)
        except RefusedRequestError as error:
            status = error.status
            body = {"error": {"message": str(error), "type": "invalid_request_error", "code": None}}
        content = json.dumps(body, separators=(",", ":")).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return answer


async def _request(scope: Scope, receive: Receive) -> Mapping[str, Any]:
    """The request's JSON object. Raises RefusedRequestError."""
    if scope["method"] != "POST" or scope["path"] != PATH:
        raise RefusedRequestError(404, f"only POST {PATH} is served here")
    content = b""
    while True:
        message = await receive()
        content += message.get("body", b"")
        if len(content) > MAX_BODY:
            raise RefusedRequestError(413, "the request is too large")
        if not message.get("more_body", False):
            break
    try:
        request = json.loads(content)
    except ValueError:
        raise RefusedRequestError(400, "the body is not JSON") from None
    if not isinstance(request, dict):
        raise RefusedRequestError(400, "the body is not a JSON object")
    return request


def serve(seed: int) -> None:
    """Serves on a free loopback port until stdin ends."""
    import uvicorn

    config = uvicorn.Config(application(seed), log_level="warning", access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        sys.stderr.write("The judges are a SIMULATION: no model is behind this server.\n")
        port = listener.getsockname()[1]
        sys.stdout.write(json.dumps({"event": "ready", "port": port, "simulation": True}) + "\n")
        sys.stdout.flush()
        threading.Thread(target=_until_stdin_ends, args=(server,), daemon=True).start()
        server.run(sockets=[listener])


def _until_stdin_ends(server: Any) -> None:
    while sys.stdin.readline():
        pass
    server.should_exit = True


def main() -> None:
    parser = argparse.ArgumentParser(description="Plays judges on a loopback port. A simulation.")
    parser.add_argument("--seed", type=int, default=0)
    serve(parser.parse_args().seed)


if __name__ == "__main__":
    main()
