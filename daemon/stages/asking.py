"""Asking a judge: one question at a time, in one retry layer, with every call stored whole.

A question is answered from the store where the same judge version answered the same prompt before. Else it is
asked: pacing says when, the purse whether, and the place in flight is held until the call is committed, so
that a kill loses at most the calls in flight.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from connectors.base import Judge, JudgeReply, JudgeRequest, Usage
from connectors.errors import ConnectorError, FatalError, PoisonError, RateLimitedError, TransientError
from connectors.judges.pacing import Pacing
from connectors.judges.prices import Tariff
from daemon.clock import Clock
from daemon.config import JudgeConfig
from daemon.metrics import Metrics
from daemon.stages.commits import GroupCommit
from daemon.stages.purse import Held, Purse
from daemon.store import calls
from daemon.store.candidates import storable
from policies import grammar
from policies.grammar import Invalid, PairReply, ScoreReply
from policies.prompts import clean, prompt_digest
from policies.records import Message, Role, digest
from policies.verdicts import Spread, expected_score

BACKOFF_S = 0.5
MAX_BACKOFF_S = 8.0
CHARS_PER_TOKEN = 3
"""Rather more tokens than fewer: an estimate is reserved before the call."""
MAX_QUOTED = 4_000
"""Most characters of an invalid answer that are shown back to the judge."""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask. `order` is '' for a score, AB or BA for a comparison."""

    judgement_id: int
    kind: str
    order: str
    text: str
    nonce: str
    digest: str
    sample: int = 0
    temperature: float | None = 0.0
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What was read from a judge's answer. `cost_usd` is 0 for an answer out of the store."""

    reply: ScoreReply | PairReply | Invalid
    spread: Spread | None = None
    cost_usd: float = 0.0


@dataclass
class Sitting:
    """One round of work: what it may still use, and what it shares. Lives on one event loop."""

    commits: GroupCommit
    purse: Purse
    expires_at: float
    check: Callable[[], Awaitable[None]]
    """Raises when no further call may be made."""
    stored: dict[str, dict[str, Any]] = field(default_factory=dict)
    under_way: dict[str, asyncio.Task[Answer]] = field(default_factory=dict)
    stopped: FatalError | None = None
    """Set when a call showed that no further one can succeed."""
    failure: str = ""
    """The last passing error that put a judgement back."""


class Asker:
    """Asks one judge. Long-lived: its pacing remembers how the other side is doing."""

    def __init__(
        self,
        *,
        role: Role,
        judge: Judge,
        config: JudgeConfig,
        system: str,
        dimensions: tuple[str, ...],
        version: str,
        tariff: Tariff | None,
        pacing: Pacing,
        metrics: Metrics,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
        random: Random,
    ) -> None:
        self.role = role
        self.judge = judge
        self.config = config
        self.version = version
        self._system = system
        self._dimensions = dimensions
        self._tariff = tariff
        self._pacing = pacing
        self._metrics = metrics
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._schemas = {kind: grammar.schema(kind, dimensions) for kind in ("score", "pair")}

    def digest_of(self, text: str, nonce: str) -> str:
        """The digest of a prompt, whatever the code of its boundaries."""
        return prompt_digest(self._system, [text], nonce)

    def reuse_key(self, question: Question) -> str:
        """Under which an answer to the question is kept."""
        return digest([self.version, question.digest, question.sample, question.logprobs])

    async def ask(self, question: Question, sitting: Sitting) -> Answer:
        """The answer, or what kept the judge from giving a readable one after one repair question.

        Raises TransientError (later), PoisonError (never), FatalError, and what the purse and `check` raise.
        """
        key = self.reuse_key(question)
        stored = sitting.stored.get(key)
        if stored is not None:
            self._metrics.judge_calls.labels(self.role, "reused").inc()
            return _answer_of(stored["read"])
        task = sitting.under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(question, key, sitting))
            sitting.under_way[key] = task
            return await task
        answer = await asyncio.shield(task)
        self._metrics.judge_calls.labels(self.role, "reused").inc()
        return Answer(answer.reply, answer.spread)

    async def _ask(self, question: Question, key: str, sitting: Sitting) -> Answer:
        first_text = Message(role="user", content=question.text)
        reply, answer = await self._call(question, (first_text,), key, sitting)
        if not isinstance(answer.reply, Invalid):
            return answer
        again = grammar.repair(question.kind, question.nonce, answer.reply.reason)
        messages = (
            first_text,
            Message(role="assistant", content=clean(reply.text)[:MAX_QUOTED] or "(empty)"),
            Message(role="user", content=again),
        )
        _, second = await self._call(question, messages, key, sitting)
        return Answer(second.reply, second.spread, answer.cost_usd + second.cost_usd)

    async def _call(
        self, question: Question, messages: tuple[Message, ...], key: str, sitting: Sitting
    ) -> tuple[JudgeReply, Answer]:
        """The only layer that retries."""
        self._pacing.first_attempt()
        last: TransientError | None = None
        for attempt in range(self.config.attempts):
            if last is not None:
                if not self._pacing.may_retry():
                    break
                await self._sleep(self._backoff(attempt))
            if self._pacing.held_back():
                raise last or TransientError(f"judge {self.role}: held back while it fails")
            try:
                return await self._once(question, messages, key, sitting)
            except TransientError as error:
                last = error
        raise last or TransientError(f"judge {self.role}: no attempt was made")

    async def _once(
        self, question: Question, messages: tuple[Message, ...], key: str, sitting: Sitting
    ) -> tuple[JudgeReply, Answer]:
        request = JudgeRequest(
            system=self._system,
            messages=messages,
            max_tokens=self.config.max_tokens,
            temperature=question.temperature,
            logprobs=question.logprobs,
            sample=question.sample,
            schema=self._schemas[question.kind],
        )
        self._in_time(sitting)
        async with self._pacing.slot() as started:
            self._in_time(sitting)
            await sitting.check()
            held = await sitting.purse.reserve(self._estimate(request))
            return await self._paid(request, question, key, sitting, held=held, started=started)

    async def _paid(
        self,
        request: JudgeRequest,
        question: Question,
        key: str,
        sitting: Sitting,
        *,
        held: Held,
        started: float,
    ) -> tuple[JudgeReply, Answer]:
        cost = held.usd  # of a call whose bill nobody will see
        inflight = self._metrics.judge_inflight.labels(self.role)
        inflight.inc()
        try:
            try:
                reply = await self.judge.ask(request)
            except ConnectorError as error:
                outcome = self._learn(error, started)
                if isinstance(error, FatalError):
                    sitting.stopped = error
                cost = held.usd if outcome in {"timeout", "refused"} else 0.0
                took = self._clock.monotonic() - started
                row = _failed(request, error, latency_s=took)
                await self._record(row, question, outcome, sitting, key=None, cost=cost)
                raise
            self._pacing.succeeded()
            answer = self._read(reply, question)
            cost = answer.cost_usd
            row = _made(reply, answer, repair=len(request.messages) > 1)
            if isinstance(answer.reply, Invalid):
                await self._record(row, question, "unparseable", sitting, key=None, cost=cost)
            else:
                await self._record(row, question, "ok", sitting, key=key, cost=cost)
            self._count(reply)
            return reply, answer
        finally:
            inflight.dec()
            await sitting.purse.settle(held, cost)

    def _in_time(self, sitting: Sitting) -> None:
        """Raises where the call could end after the claim, or would have to wait for longer than that."""
        left = sitting.expires_at - self._clock.now() - self.config.deadline_s
        wait = self._pacing.wait_s()
        if wait > max(0.0, left):
            raise RateLimitedError(f"judge {self.role}: asked to wait {wait:.0f} s", wait)
        if left < 0:
            raise TransientError(f"judge {self.role}: the claim ends before an answer could come")

    def _learn(self, error: ConnectorError, started: float) -> str:
        """Tells the pacing; answers the outcome."""
        if isinstance(error, RateLimitedError):
            self._pacing.overloaded(started, error.retry_after_s)
            return "rate_limited"
        if isinstance(error, TransientError):
            self._pacing.failed()
            return "timeout" if isinstance(error.__cause__, TimeoutError) else "http_error"
        self._pacing.succeeded()
        return "refused" if isinstance(error, PoisonError) else "http_error"

    def _read(self, reply: JudgeReply, question: Question) -> Answer:
        parse = grammar.parse_score if question.kind == "score" else grammar.parse_pair
        read = parse(
            reply.text,
            nonce=question.nonce,
            dimensions=self._dimensions,
            finish_reason=reply.finish_reason,
        )
        cost = self._tariff.cost(reply.usage) if self._tariff else 0.0
        spread = None
        if isinstance(read, ScoreReply) and question.logprobs:
            spread = expected_score(reply.tokens, score=read.score, nonce=question.nonce)
        return Answer(read, spread, cost)

    async def _record(
        self,
        row: dict[str, Any],
        question: Question,
        outcome: str,
        sitting: Sitting,
        *,
        key: str | None,
        cost: float,
    ) -> None:
        row |= {
            "judgement_id": question.judgement_id,
            "judge": self.role.value,
            "version": self.version,
            "prompt_digest": question.digest,
            "order": question.order,
            "sample": question.sample,
            "reuse_key": key,
            "outcome": outcome,
            "cost_usd": cost,
            "created_at": self._clock.now(),
        }
        self._metrics.judge_calls.labels(self.role, outcome).inc()
        self._metrics.judge_latency.labels(self.role).observe(row["latency_s"])
        await sitting.commits.write(lambda connection: calls.record(connection, [row]))

    def _count(self, reply: JudgeReply) -> None:
        self._metrics.judge_tokens.labels(self.role, "input").inc(reply.usage.input_tokens)
        self._metrics.judge_tokens.labels(self.role, "output").inc(reply.usage.output_tokens)

    def _estimate(self, request: JudgeRequest) -> float:
        if self._tariff is None:
            return 0.0
        chars = len(request.system) + sum(len(message.content) for message in request.messages)
        return self._tariff.cost(Usage(chars // CHARS_PER_TOKEN + 1, request.max_tokens))

    def _backoff(self, attempt: int) -> float:
        return min(MAX_BACKOFF_S, BACKOFF_S * 2.0 ** (attempt - 1)) * (0.5 + self._random.random() / 2)


def _made(reply: JudgeReply, answer: Answer, *, repair: bool) -> dict[str, Any]:
    """The columns of a call that was answered. `read` is what a later judgement can use again."""
    read = asdict(answer.reply) | ({"spread": asdict(answer.spread)} if answer.spread else {})
    return {
        "repair": repair,
        "request": _clean(dict(reply.request)),
        "response": _clean({"body": dict(reply.response), "read": read}),
        "model": storable(reply.model),
        "input_tokens": reply.usage.input_tokens,
        "output_tokens": reply.usage.output_tokens,
        "latency_s": reply.latency_s,
    }


def _failed(request: JudgeRequest, error: ConnectorError, *, latency_s: float) -> dict[str, Any]:
    """The columns of a call that was not answered."""
    asked = [{"role": message.role, "content": message.content} for message in request.messages]
    return {
        "repair": len(request.messages) > 1,
        "request": _clean({"system": request.system, "messages": asked}),
        "response": _clean({"error": str(error)}),
        "model": None,
        "input_tokens": 0,
        "output_tokens": 0,
        "latency_s": latency_s,
    }


def _clean(value: dict[str, Any]) -> dict[str, Any]:
    """The value as `storable` makes it. Nearly all are so already, which one dump shows much faster."""
    written = json.dumps(value)
    if not any(odd in written for odd in ("\\u0000", "\\ud", "NaN", "Infinity")):
        return value
    cleaned: dict[str, Any] = storable(value)
    return cleaned


def _answer_of(read: dict[str, Any]) -> Answer:
    """A stored answer."""
    spread = Spread(**read["spread"]) if "spread" in read else None
    if "score" in read:
        return Answer(ScoreReply(read["score"], read["scores"], read["critique"]), spread)
    return Answer(PairReply(read["verdict"], read["scores"], read["critique"]), spread)
