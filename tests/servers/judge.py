"""A judge on loopback that speaks OpenAI's and Anthropic's formats, and misbehaves on demand.

It reads the case with the prompt's own inverse and answers in the grammar. `script` chooses what to do with
each request; the default is to answer well.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from policies.judging.grammar import Letter
from policies.judging.prompts import ParsedCase, cases_in

Behaviour = Literal[
    "good",
    "prose",
    "newlines",
    "garbage",
    "conflict",
    "out_of_range",
    "nan",
    "empty",
    "truncated_json",
    "token_limit",
    "refused",
    "rate_limited",
    "overloaded",
    "error",
    "bad_request",
    "unauthorized",
    "unknown_model",
    "no_quota",
    "redirect",
    "html",
    "cut_body",
    "hang",
    "hang_after_headers",
    "drip",
    "close",
    "close_after_headers",
]
NEWLINES = "\n" * 60_000
"""How models fail in JSON mode: about as much as is read of an answer."""
STATUSES: Mapping[str, tuple[int, str]] = {
    "rate_limited": (429, "rate_limit_exceeded"),
    "overloaded": (529, "overloaded_error"),
    "error": (500, "server_error"),
    "bad_request": (400, "invalid_request_error"),
    "unauthorized": (401, "invalid_api_key"),
    "unknown_model": (404, "model_not_found"),
    "no_quota": (429, "insufficient_quota"),
    "redirect": (307, "moved"),
}


@dataclass(frozen=True)
class Seen:
    """One request as it arrived. `number` counts from 0; `repair` is True when it asks again."""

    number: int
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    case: ParsedCase
    repair: bool


def good_score(case: ParsedCase) -> int:
    """The longer answer is the better one, up to 10: something that tests can predict."""
    return min(10, len(case.answers[0]))


def good_verdict(case: ParsedCase) -> Letter:
    first, second = (len(answer) for answer in case.answers)
    return "tie" if first == second else "A" if first > second else "B"


@dataclass
class JudgeServer:
    """Use as a context manager. `url` is its address; OpenAI clients append /v1 (`openai_url`).

    Entered again it is at the same address: in between it was absent.
    """

    script: Callable[[Seen], Behaviour] = lambda seen: "good"
    score: Callable[[ParsedCase], int] = good_score
    verdict: Callable[[ParsedCase], Letter] = good_verdict
    alternatives: Callable[[int], Mapping[str, float]] | None = None
    """Log-probabilities at the score token, by score; None sends none."""
    latency_s: float = 0.0
    latency: Callable[[ParsedCase], float] | None = None
    """Seconds to each answer; None: `latency_s`."""
    retry_after: str = "0.05"
    model: str = "judge-1-20260101"
    seen: list[Seen] = field(default_factory=list)
    answered: int = 0
    port: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._connections: set[asyncio.StreamWriter] = set()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *raised: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client may hang up whenever it likes: a timeout, a kill, or a connection it needs no more. So may
        # we, and asyncio would log the end of a cancelled handler as an error.
        gone = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.closing(writer), contextlib.suppress(*gone):
            while await self._one(reader, writer):
                continue

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serves one request; False: the connection ends."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))))
        texts = [each["content"] for each in body["messages"] if each["role"] == "user"]
        with self._lock:
            seen = Seen(
                len(self.seen), first.split(" ")[1], headers, body, cases_in(texts[0]), len(texts) > 1
            )
            self.seen.append(seen)
        await asyncio.sleep(self.latency_s if self.latency is None else self.latency(seen.case))
        return await self._act(self.script(seen), seen, writer)

    async def _act(self, behaviour: Behaviour, seen: Seen, writer: asyncio.StreamWriter) -> bool:
        if behaviour in STATUSES:
            status, code = STATUSES[behaviour]
            error = {
                "error": {"message": f"{behaviour}: {seen.headers.get('authorization', '')}", "code": code}
            }
            extra = f"retry-after: {self.retry_after}\r\n" if status in {429, 529} else ""
            extra += "location: http://127.0.0.1:9/\r\n" if status == 307 else ""
            return await _send(writer, json.dumps(error).encode(), status, extra)
        if behaviour in {"hang", "close"}:
            await asyncio.sleep(3600 if behaviour == "hang" else 0)
            return False
        payload = json.dumps(self._reply(behaviour, seen)).encode()
        if behaviour in {"hang_after_headers", "close_after_headers", "drip", "cut_body"}:
            return await _misbehave(behaviour, payload, writer)
        with self._lock:
            self.answered += 1
        return await _send(writer, b"<html>busy</html>" if behaviour == "html" else payload, 200, "")

    def _reply(self, behaviour: Behaviour, seen: Seen) -> dict[str, Any]:
        text = self._text(behaviour, seen.case)
        if seen.path.endswith("/messages"):
            stop = {"token_limit": "max_tokens", "refused": "refusal"}.get(behaviour, "end_turn")
            usage = {"input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 900}
            return {
                "id": f"msg_{seen.number}",
                "type": "message",
                "role": "assistant",
                "model": self.model,
                "content": [{"type": "text", "text": text}],
                "stop_reason": stop,
                "usage": usage,
            }
        finish = {"token_limit": "length", "refused": "content_filter"}.get(behaviour, "stop")
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": finish,
            "logprobs": self._logprobs(text, seen.case) if seen.body.get("logprobs") else None,
        }
        return {
            "id": f"chatcmpl-{seen.number}",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": self.model,
            "choices": [choice],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 1020},
        }

    def _text(self, behaviour: Behaviour, case: ParsedCase) -> str:
        pair = case.kind == "pair"
        word = "VERDICT" if pair else "SCORE"
        value: Any = self.verdict(case) if pair else self.score(case)
        good = {"critique": "it reads well", "scores": dict.fromkeys(case.dimensions, value)}
        good["verdict" if pair else "score"] = value
        last = "verdict" if pair else "score"
        bad = {
            "prose": f"Well.\n{word} {case.nonce}: {str(value).upper()}",
            "newlines": f"```{NEWLINES}```x",
            "garbage": "I think both are fine, 7 out of 10, so [[A]], or rather B. SCORE: 10",
            "conflict": f"{word} {case.nonce}: 3\n{word} {case.nonce}: 4",
            "out_of_range": json.dumps({**good, last: "C" if pair else 99}),
            "nan": json.dumps({**good, last: float("nan")}),
            "empty": "",
            "truncated_json": json.dumps(good)[:-6],
        }
        return bad.get(behaviour, json.dumps(good))

    def _logprobs(self, text: str, case: ParsedCase) -> dict[str, Any] | None:
        if self.alternatives is None:
            return None
        head, _, tail = text.rpartition(": ")
        score = tail.rstrip("}")
        choices = self.alternatives(int(score))
        tokens = [(f"{head}:", {}), (f" {score}", {f" {k}": v for k, v in choices.items()}), ("}", {})]
        return {
            "content": [
                {
                    "token": token,
                    "logprob": 0.0,
                    "top_logprobs": [{"token": each, "logprob": value} for each, value in top.items()],
                }
                for token, top in tokens
            ]
        }


def _head(length: int, status: int, extra: str) -> bytes:
    return (
        f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{extra}\r\n"
    ).encode()


async def _send(writer: asyncio.StreamWriter, payload: bytes, status: int, extra: str) -> bool:
    writer.write(_head(len(payload), status, extra) + payload)
    await writer.drain()
    return True


async def _misbehave(behaviour: Behaviour, payload: bytes, writer: asyncio.StreamWriter) -> bool:
    writer.write(_head(len(payload), 200, ""))
    await writer.drain()
    if behaviour == "hang_after_headers":
        await asyncio.sleep(3600)
    elif behaviour == "cut_body":
        writer.write(payload[: len(payload) // 2])
        await writer.drain()
    elif behaviour == "drip":
        for at in range(len(payload)):
            writer.write(payload[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0.1)
    return False
