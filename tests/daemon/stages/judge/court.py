"""A judge stage with its surroundings: a store, metrics, a clock, and judges that answer as told."""

import asyncio
import json
import random
import secrets
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from connectors.base import Judge, JudgeReply, JudgeRequest
from connectors.judges.openai import OpenAIJudge
from connectors.memory import MemoryJudge
from daemon.budget import Budget
from daemon.clock import Clock, FakeClock
from daemon.config.judges import ChatJudgeConfig, Price
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.stages.judge.chat import ChatAssessor
from daemon.stages.judge.judge import Claims, JudgeStage
from daemon.store import judgements
from daemon.store.judgements import Wanted
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, JudgeCallRow, JudgementRow, VerdictRow
from daemon.wiring.assessors import Court as SharedCourt
from daemon.wiring.judges import named
from daemon.wiring.pricing import price_of
from policies.judging import constitution, rubric
from policies.judging.judges import NamedJudge
from policies.judging.prompts import ParsedCase, cases_in
from policies.policy import JudgingRule
from policies.records import Role, Split
from tests.daemon.stages import seeding

P = ParamSpec("P")
T = TypeVar("T")
Answer = Callable[[JudgeRequest], str | JudgeReply]
FREE = Price(input_per_million=0, output_per_million=0)
PRICED = Price(input_per_million=1000.0, output_per_million=1000.0)
CONFIG = ChatJudgeConfig(role=Role.SMALL, type="openai", model="m", family="judges", price=FREE)


def answering(
    score: Callable[[ParsedCase], Any] = lambda case: min(10, len(case.answers[0])),
    verdict: Callable[[ParsedCase], Any] = lambda case: (
        "A" if len(case.answers[0]) > len(case.answers[1]) else "B"
    ),
) -> Callable[[JudgeRequest], str]:
    """Answers a case in the grammar."""

    def answer(request: JudgeRequest) -> str:
        case = cases_in(request.messages[0].content)
        value = score(case) if case.kind == "score" else verdict(case)
        last = "score" if case.kind == "score" else "verdict"
        return json.dumps(
            {"critique": "told so", "scores": dict.fromkeys(case.dimensions, value), last: value}
        )

    return answer


def raising(*errors: Exception | None) -> Answer:
    """Raises these in turn, None answers; after them all answers are good."""
    left = list(errors)
    good = answering()

    def answer(request: JudgeRequest) -> str:
        error = left.pop(0) if left else None
        if error is not None:
            raise error
        return good(request)

    return answer


def config(**changes: Any) -> ChatJudgeConfig:
    """The court's configuration with changes."""
    return CONFIG.model_copy(update=changes)


class Threads(ThreadPoolExecutor):
    """The event loop's threads. Made-up time stands still while they work: how long the store takes is the
    machine's affair.
    """

    TURNS = 20
    """Turns of the loop without work, in which what a thread gave is taken on."""

    def __init__(self) -> None:
        super().__init__()
        self._busy: set[Future[Any]] = set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future = super().submit(fn, *args, **kwargs)
        self._busy.add(future)
        return future

    async def idle(self) -> None:
        """Returns when no thread has anything to do."""
        turns = 0
        while turns < self.TURNS:
            self._busy = {future for future in self._busy if not future.done()}
            turns = 0 if self._busy else turns + 1
            await asyncio.sleep(0.001 if self._busy else 0)


@dataclass
class Court:
    """One judge and everything around it. `stage()` may be called again: that is a restart."""

    store: Store
    clock: Clock = field(default_factory=FakeClock)
    judge: Judge = field(default_factory=lambda: MemoryJudge(answering()))
    config: ChatJudgeConfig = CONFIG
    rule: JudgingRule = field(default_factory=JudgingRule)
    role: Role = Role.SMALL
    claim_s: float = 300.0
    claim_batch: int = 64
    owner: str = "test"
    slept: list[float] = field(default_factory=list)
    real_time: bool = False

    def __post_init__(self) -> None:
        self.metrics = Metrics()
        self.latch = Latch(self.store, self.clock, self.metrics)
        self.budget = Budget(self.store, self.clock, self.metrics)
        self._threads = Threads()

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if isinstance(self.clock, FakeClock):
            await self._threads.idle()
            self.clock.advance(seconds)
        await asyncio.sleep(seconds if self.real_time else 0)

    @property
    def named(self) -> NamedJudge:
        """The judge, with the version that it has now."""
        law, scale = constitution.load("helpful"), rubric.load("support")
        config = self.config.model_copy(update={"role": self.role})
        (found,) = named({self.role.value: config}, self.rule, law, scale)
        return found

    def stage(self, *, nonce: Callable[[], str] | None = None, **changes: Any) -> JudgeStage:
        return JudgeStage(
            store=self.store,
            assessors=[self.assessor(nonce)],
            rule=self.rule,
            budget=self.budget,
            latch=self.latch,
            metrics=self.metrics,
            clock=self.clock,
            claims=self._claims,
            seed=7,
            **changes,
        )

    @property
    def _claims(self) -> Claims:
        return Claims(self.owner, self.claim_s, self.claim_batch)

    def assessor(self, nonce: Callable[[], str] | None = None) -> ChatAssessor:
        """The judge, ready to be asked."""
        shared = SharedCourt(
            rule=self.rule,
            constitution=constitution.load("helpful"),
            rubric=rubric.load("support"),
            metrics=self.metrics,
            clock=self.clock,
            claims=self._claims,
            sleep=self._sleep,
            nonce=nonce or (lambda: secrets.token_hex(8)),
            random=random.Random(7),
        )
        price = price_of(self.role.value, self.config)
        return shared.chat(self.named, self.judge, self.config, price)

    def step(self, stage: JudgeStage | None = None) -> int:
        """One step, and the end of what it left in hand."""
        kept = stage or self.stage()

        async def run() -> int:
            return await kept.step(self.role.value) + await kept.finish(self.role.value)

        return self._run(run())

    def drain(self, stage: JudgeStage | None = None) -> int:
        """Steps until a step finishes nothing."""
        kept = stage or self.stage()

        async def run() -> int:
            total = 0
            while done := await kept.step(self.role.value):
                total += done
            return total

        return self._run(run())

    def _run(self, work: Coroutine[Any, Any, int]) -> int:
        async def run() -> int:
            self._threads = Threads()
            asyncio.get_running_loop().set_default_executor(self._threads)
            return await work

        return asyncio.run(run())

    def want_scores(self, *texts: str, purpose: Any = "traffic") -> list[int]:
        """Traces with these logged answers, to be scored; returns the candidates' ids."""
        known = seeding.count(self.store, CandidateRow)

        def add(within: seeding.Within) -> None:
            for at, text in enumerate(texts):
                seeding.add_trace(within, f"t{known + at}", Split.TRAIN, text=text)

        seeding.at_once(self.store, add)
        made = seeding.rows(self.store, CandidateRow)[known:]
        wanted = [Wanted(self.named, "score", purpose, row.trace_id, row.id) for row in made]
        self.store.write(lambda c: judgements.request(c, wanted, self.clock.now()))
        return [row.id for row in made]

    def want_pair(self, first: str, second: str, **changes: Any) -> tuple[int, int]:
        name = f"p{seeding.count(self.store, CandidateRow)}"
        trace_id = seeding.add_trace(self.store, name, Split.AUDIT, text=first)
        a = seeding.rows(self.store, CandidateRow)[-1].id
        b = seeding.add_candidate(self.store, trace_id, second)
        values: Mapping[str, Any] = {"purpose": "audit", **changes}
        wanted = Wanted(self.named, "pair", trace_id=trace_id, candidate_id=a, other_id=b, **values)
        self.store.write(lambda c: judgements.request(c, [wanted], self.clock.now()))
        return a, b

    @property
    def verdicts(self) -> list[Any]:
        return seeding.rows(self.store, VerdictRow)

    @property
    def calls(self) -> list[Any]:
        return seeding.rows(self.store, JudgeCallRow)

    @property
    def judgements(self) -> list[Any]:
        return seeding.rows(self.store, JudgementRow)

    def metric(self, name: str, **labels: str) -> float:
        if "judge" in labels:
            labels["role"] = self.role.value
        return self.metrics.registry.get_sample_value(f"rlaifd_{name}", labels) or 0.0


def asked(judge: Judge) -> list[JudgeRequest]:
    """What a memory judge was asked."""
    assert isinstance(judge, MemoryJudge)
    return judge.asked


def over_http(url: str, *, deadline_s: float = 10.0) -> OpenAIJudge:
    return OpenAIJudge(
        name="small", family="judges", model="m", api_key="k", base_url=url, deadline_s=deadline_s
    )
