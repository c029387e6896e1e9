"""Asking a judge: one question at a time, in one retry layer, with every call stored whole.

A question is answered from the store where the same judge version answered the same prompt before. Else it is
asked: pacing says when, the purse whether, and the place in flight is held until the call is committed, so
that a kill loses at most the calls in flight.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from typing import Any

from connectors.base import Judge, JudgeReply, JudgeRequest, Usage
from connectors.errors import (
    ConnectorError,
    DoubtfulError,
    FatalError,
    LearntError,
    PoisonError,
    RateLimitedError,
    TransientError,
    UnreadableError,
)
from connectors.judges.pacing import Pacing
from connectors.judges.prices import Tariff
from daemon.clock import Clock
from daemon.config.judges import ChatJudgeConfig
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.stages.judge.call_rows import ReadAnswer, answer_of, failed, made
from daemon.stages.judge.reservations import HeldMoney
from daemon.stages.judge.round import Docket, JudgeQuestion, Sitting
from daemon.stages.judge.standing import Shape, Standing, plain_case
from daemon.store import calls
from policies.judging import grammar
from policies.judging.grammar import Invalid, ScoreReply
from policies.judging.judges import NamedJudge
from policies.judging.prompts import Case, case_digest, clean, render
from policies.judging.verdicts import expected_score
from policies.records import Message, digest

BACKOFF_S = 0.5
MAX_BACKOFF_S = 8.0
CHARS_PER_TOKEN = 3
"""Rather more tokens than fewer: an estimate is reserved before the call."""
MAX_QUOTED = 4_000
"""Most characters of an invalid answer that are shown back to the judge."""
MOST_LEARNT = 8
"""Refusals in a row that each taught how to ask: more than there are settings to take away."""

log = get("judge")


class Asker:
    """Asks one judge. Long-lived: its pacing and its standing remember how the other side is doing."""

    def __init__(
        self,
        *,
        named: NamedJudge,
        judge: Judge,
        config: ChatJudgeConfig,
        system: str,
        dimensions: tuple[str, ...],
        tariff: Tariff | None,
        pacing: Pacing,
        metrics: Metrics,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
        random: Random,
    ) -> None:
        self.named = named
        self.judge = judge
        self.config = config
        self.standing = Standing()
        self._system = system
        self._dimensions = dimensions
        self._tariff = tariff
        self._pacing = pacing
        self._metrics = metrics
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._schemas = {kind: grammar.schema(kind, dimensions) for kind in ("score", "pair")}

    def digest_of(self, case: Case) -> str:
        """The digest of the question about a case, whatever the code of its boundaries."""
        return case_digest(self._system, case, self._dimensions)

    def reuse_key(self, question: JudgeQuestion) -> str:
        """Under which an answer to the question is kept."""
        return digest([self.named.version, question.digest, question.sample, question.logprobs])

    async def ask(self, question: JudgeQuestion, docket: Docket) -> ReadAnswer:
        """The answer, or what kept the judge from giving a readable one after one repair question.

        Raises TransientError (later; UnreadableError where it was served and holds no judgement), PoisonError
        (never), FatalError, and what the purse and `check` raise.
        """
        key = self.reuse_key(question)
        stored = docket.stored.get(key)
        if stored is not None:
            self._metrics.judge_calls.labels(*self.named.labels, "reused").inc()
            return answer_of(stored["read"])
        task = docket.sitting.under_way(key)
        if task is None:
            task = asyncio.create_task(self._ask(question, key, docket))
            docket.sitting.begin(key, task)
            return await task
        answer = await asyncio.shield(task)
        self._metrics.judge_calls.labels(*self.named.labels, "reused").inc()
        return ReadAnswer(answer.reply, answer.spread)

    async def _ask(self, question: JudgeQuestion, key: str, docket: Docket) -> ReadAnswer:
        first_text = Message(role="user", content=question.text)
        reply, answer = await self._call(question, (first_text,), key, docket)
        if answer.cut_off or not isinstance(answer.reply, Invalid):
            return answer  # asking again under the same limit would pay for the same
        again = grammar.repair(question.kind, question.nonce, answer.reply.reason)
        messages = (
            first_text,
            Message(role="assistant", content=clean(reply.text)[:MAX_QUOTED] or "(empty)"),
            Message(role="user", content=again),
        )
        _, second = await self._call(question, messages, key, docket)
        if isinstance(second.reply, Invalid):
            line = f"judge {self.named.name}: no judgement can be read ({second.reply.reason})"
            change = f"another model, or see to judges.{self.named.name}.structured"
            self._stop(self.standing.garbled(f"{line}: {change}", self._clock.monotonic()), docket.sitting)
        return replace(second, cost_usd=answer.cost_usd + second.cost_usd)

    async def _call(
        self, question: JudgeQuestion, messages: tuple[Message, ...], key: str, docket: Docket
    ) -> tuple[JudgeReply, ReadAnswer]:
        """The only layer that retries. What was served and not understood is not asked again at once."""
        self._pacing.first_attempt()
        last: TransientError | None = None
        for attempt in range(self.config.attempts):
            if last is not None:
                if not self._pacing.may_retry():
                    break
                await self._sleep(self._backoff(attempt))
            if self._pacing.held_back():
                raise last or TransientError(f"judge {self.named.name}: held back while it fails")
            try:
                return await self._taught(question, messages, key, docket)
            except UnreadableError:
                raise
            except TransientError as error:
                last = error
        raise last or TransientError(f"judge {self.named.name}: no attempt was made")

    async def _taught(
        self, question: JudgeQuestion, messages: tuple[Message, ...], key: str | None, docket: Docket
    ) -> tuple[JudgeReply, ReadAnswer]:
        """One call, made again at once while its refusals teach how to ask."""
        began = self._clock.monotonic()
        for _ in range(MOST_LEARNT):
            try:
                return await self._once(question, messages, key, docket)
            except LearntError as error:
                log.info("judge_asked_otherwise", judge=self.named.name, reason=str(error))
            except DoubtfulError as error:
                raise await self._settled(question, key, error, docket, began=began) from error
        raise TransientError(f"judge {self.named.name}: it refuses however it is asked")

    async def _settled(
        self, question: JudgeQuestion, key: str | None, error: DoubtfulError, docket: Docket, *, began: float
    ) -> ConnectorError:
        """Whose fault a refusal is: the item's where another call got through meanwhile, or a plain one."""
        if key is None:  # it is the plain one
            return error
        sitting = docket.sitting
        async with sitting.settling:
            if sitting.stopped is not None:
                return sitting.stopped
            if not self.standing.got_through(_shape(question), began):
                plain = self._plain(question)
                try:
                    asked = (Message(role="user", content=plain.text),)
                    await self._taught(plain, asked, None, docket)
                except (DoubtfulError, PoisonError) as refused:
                    stopped = FatalError(f"{refused}: a plain question too: check judges.{self.named.name}")
                    sitting.stopped = stopped
                    self.standing.stop()
                    return stopped
        return PoisonError(str(error))

    def _plain(self, question: JudgeQuestion) -> JudgeQuestion:
        """A plain question of the same shape."""
        case = plain_case(question.kind)
        text = render(case, nonce=question.nonce, dimensions=self._dimensions)
        return replace(question, text=text, digest=self.digest_of(case))

    async def _once(
        self, question: JudgeQuestion, messages: tuple[Message, ...], key: str | None, docket: Docket
    ) -> tuple[JudgeReply, ReadAnswer]:
        request = JudgeRequest(
            system=self._system,
            messages=messages,
            max_tokens=self.config.max_tokens,
            temperature=question.temperature,
            logprobs=question.logprobs,
            sample=question.sample,
            schema=self._schemas[question.kind],
        )
        sitting = docket.sitting
        self._in_time(docket)
        async with self._pacing.slot(ahead=len(messages) > 1 or key is None) as started:
            self._in_time(docket)
            await sitting.check()
            held = await sitting.purse.reserve(self._estimate(request))
            return await self._paid(request, question, key, sitting, held=held, started=started)

    async def _paid(
        self,
        request: JudgeRequest,
        question: JudgeQuestion,
        key: str | None,
        sitting: Sitting,
        *,
        held: HeldMoney,
        started: float,
    ) -> tuple[JudgeReply, ReadAnswer]:
        settled = False
        inflight = self._metrics.judge_inflight.labels(*self.named.labels)
        inflight.inc()
        try:
            try:
                reply = await self.judge.ask(request)
            except ConnectorError as error:
                outcome = self._learn(error, started)
                usage = self._billed(request, error)
                cost = held.usd if outcome == "timeout" else self._price(usage)
                took = self._clock.monotonic() - started
                row = failed(request, error, usage, latency_s=took)
                settled = True
                await self._record(row, question, outcome, sitting, key=None, cost=cost, held=held)
                self._count(usage)
                if isinstance(error, UnreadableError):
                    self._unfit(f"{error}: check judges.{self.named.name}.type and base_url", sitting)
                if isinstance(error, FatalError):
                    sitting.stopped = error
                raise
            self._pacing.succeeded()
            answer = self._read(reply, question)
            row = made(reply, answer, repair=len(request.messages) > 1)
            invalid = isinstance(answer.reply, Invalid)
            outcome = "cut_off" if answer.cut_off else "unparseable" if invalid else "ok"
            settled, kept_as = True, None if invalid else key
            cost = answer.cost_usd
            await self._record(row, question, outcome, sitting, key=kept_as, cost=cost, held=held)
            self._count(reply.usage)
            self._weigh(answer, question, started, sitting)
            return reply, answer
        finally:
            inflight.dec()
            if not settled:  # nobody will see its bill
                await sitting.purse.settle(held, held.usd)

    def _weigh(self, answer: ReadAnswer, question: JudgeQuestion, started: float, sitting: Sitting) -> None:
        """What an answer tells of the judge. Raises UnreadableError for one that was cut off while it is not
        known whether any is not, FatalError where none seems to be.
        """
        if not answer.cut_off or not isinstance(answer.reply, Invalid):
            self.standing.answered(_shape(question), started)
            if not isinstance(answer.reply, Invalid):
                self.standing.understood()
            return
        self.standing.accepted(_shape(question), started)
        line = f"judge {self.named.name}: {answer.reply.reason}"
        self._unfit(line, sitting)
        if not self.standing.trusted:
            raise UnreadableError(line)

    def _unfit(self, line: str, sitting: Sitting) -> None:
        self._stop(self.standing.unfit(line, self._clock.monotonic()), sitting)

    def _stop(self, stopped: FatalError | None, sitting: Sitting) -> None:
        if stopped is not None:
            sitting.stopped = stopped
            raise stopped

    def _billed(self, request: JudgeRequest, error: ConnectorError) -> Usage:
        """The tokens of a call that failed: what the other side says, the estimate where it served and does
        not say, none where it did not serve.
        """
        received = error.received
        if received is None or not received.served:
            return Usage(0, 0)
        read, written = received.input_tokens, received.output_tokens
        return Usage(
            _input_estimate(request) if read is None else read,
            request.max_tokens if written is None else written,
        )

    def _price(self, usage: Usage) -> float:
        return self._tariff.cost(usage) if self._tariff else 0.0

    def _in_time(self, docket: Docket) -> None:
        """Raises where the call could end after the claim, or would have to wait for longer than that."""
        left = docket.expires_at - self._clock.now() - self.config.deadline_s
        wait = self._pacing.wait_s()
        if wait > max(0.0, left):
            raise RateLimitedError(f"judge {self.named.name}: asked to wait {wait:.0f} s", wait)
        if left < 0:
            raise TransientError(f"judge {self.named.name}: the claim ends before an answer could come")

    def _learn(self, error: ConnectorError, started: float) -> str:
        """Tells the pacing and the standing; returns the outcome."""
        if isinstance(error, RateLimitedError):
            self._pacing.overloaded(started, error.retry_after_s)
            return "rate_limited"
        if isinstance(error, UnreadableError):
            self._pacing.succeeded()
            return "unreadable"
        if isinstance(error, TransientError) and not isinstance(error, LearntError):
            self._pacing.failed()
            return "timeout" if isinstance(error.__cause__, TimeoutError) else "http_error"
        self._pacing.succeeded()
        if isinstance(error, FatalError):
            self.standing.stop()
            return "http_error"
        return "refused"

    def _read(self, reply: JudgeReply, question: JudgeQuestion) -> ReadAnswer:
        parse = grammar.parse_score if question.kind == "score" else grammar.parse_pair
        read = parse(
            reply.text,
            nonce=question.nonce,
            dimensions=self._dimensions,
            finish_reason=reply.finish_reason,
            case=question.text,
        )
        cut_off = grammar.is_cut_off(reply.finish_reason)
        if cut_off:
            limit = f"judges.{self.named.name}.max_tokens ({self.config.max_tokens})"
            read = Invalid(f"the answer was cut off at {limit}: raise it")
        spread = None
        if isinstance(read, ScoreReply) and question.logprobs:
            spread = expected_score(reply.tokens, score=read.score, nonce=question.nonce)
        return ReadAnswer(read, spread, self._price(reply.usage), cut_off)

    async def _record(
        self,
        row: dict[str, Any],
        question: JudgeQuestion,
        outcome: str,
        sitting: Sitting,
        *,
        key: str | None,
        cost: float,
        held: HeldMoney,
    ) -> None:
        """Stores the call and settles its money, in one transaction where both are due."""
        row |= {
            "judgement_id": question.judgement_id,
            "judge": self.named.name,
            "version": self.named.version,
            "prompt_digest": question.digest,
            "order": question.order,
            "sample": question.sample,
            "reuse_key": key,
            "outcome": outcome,
            "cost_usd": cost,
            "created_at": self._clock.now(),
        }
        self._metrics.judge_calls.labels(*self.named.labels, outcome).inc()
        self._metrics.judge_latency.labels(*self.named.labels).observe(row["latency_s"])
        kept = sitting.commits.begin(lambda connection: calls.record(connection, [row]))
        try:
            await sitting.purse.settle(held, cost)
        finally:
            await kept

    def _count(self, usage: Usage) -> None:
        self._metrics.judge_tokens.labels(*self.named.labels, "input").inc(usage.input_tokens)
        self._metrics.judge_tokens.labels(*self.named.labels, "output").inc(usage.output_tokens)

    def least_usd(self) -> float:
        """What no call is reserved less than."""
        return self._estimate(JudgeRequest(self._system, (), self.config.max_tokens))

    def _estimate(self, request: JudgeRequest) -> float:
        return self._price(Usage(_input_estimate(request), request.max_tokens))

    def _backoff(self, attempt: int) -> float:
        return min(MAX_BACKOFF_S, BACKOFF_S * 2.0 ** (attempt - 1)) * (0.5 + self._random.random() / 2)


def _shape(question: JudgeQuestion) -> Shape:
    return question.kind, question.logprobs


def _input_estimate(request: JudgeRequest) -> int:
    chars = len(request.system) + sum(len(message.content) for message in request.messages)
    return chars // CHARS_PER_TOKEN + 1
