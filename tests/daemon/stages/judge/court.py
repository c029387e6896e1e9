"""A judge stage with its surroundings: a store, metrics, a clock, and judges that answer as told."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from connectors.base import Judge, JudgeReply, JudgeRequest
from connectors.judges.openai import OpenAIJudge
from connectors.memory import MemoryJudge
from daemon.budget import Budget
from daemon.clock import Clock, FakeClock
from daemon.config.settings import JudgeConfig, Price
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.stages.judge.judge import JudgeStage
from daemon.store import judgements
from daemon.store.judgements import Wanted
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, JudgeCallRow, JudgementRow, VerdictRow
from daemon.wiring.judges import versions
from daemon.wiring.pricing import tariffs
from policies.judging import constitution, rubric
from policies.judging.prompts import ParsedCase, cases_in
from policies.policy import JudgingRule
from policies.records import Role, Split
from tests.daemon.stages import seeding

Answer = Callable[[JudgeRequest], str | JudgeReply]
FREE = Price(input_per_million=0, output_per_million=0)
PRICED = Price(input_per_million=1000.0, output_per_million=1000.0)
CONFIG = JudgeConfig(type="openai", model="m", family="judges", price=FREE)


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


def config(**changes: Any) -> JudgeConfig:
    """The court's configuration with changes."""
    return CONFIG.model_copy(update=changes)


@dataclass
class Court:
    """One judge role and everything around it. `stage()` may be called again: that is a restart."""

    store: Store
    clock: Clock = field(default_factory=FakeClock)
    judge: Judge = field(default_factory=lambda: MemoryJudge(answering()))
    config: JudgeConfig = CONFIG
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

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if isinstance(self.clock, FakeClock):
            self.clock.advance(seconds)
        await asyncio.sleep(seconds if self.real_time else 0)

    def stage(self, **changes: Any) -> JudgeStage:
        configs, law, scale = {self.role: self.config}, constitution.load("helpful"), rubric.load("support")
        return JudgeStage(
            store=self.store,
            judges={self.role: self.judge},
            configs=configs,
            versions=versions(configs, self.rule, law, scale),
            prices=tariffs(configs),
            policy=seeding.spec(judging=self.rule),
            constitution=law,
            rubric=scale,
            budget=self.budget,
            latch=self.latch,
            metrics=self.metrics,
            clock=self.clock,
            owner=self.owner,
            claim_s=self.claim_s,
            claim_batch=self.claim_batch,
            sleep=self._sleep,
            seed=7,
            **changes,
        )

    def step(self, stage: JudgeStage | None = None) -> int:
        return asyncio.run((stage or self.stage()).step(self.role))

    def drain(self, stage: JudgeStage | None = None) -> int:
        """Steps until a step finishes nothing."""
        kept = stage or self.stage()

        async def run() -> int:
            total = 0
            while done := await kept.step(self.role):
                total += done
            return total

        return asyncio.run(run())

    def want_scores(self, *texts: str, purpose: Any = "traffic") -> list[int]:
        """Traces with these logged answers, to be scored; answers the candidates' ids."""
        known = seeding.count(self.store, CandidateRow)

        def add(within: seeding.Within) -> None:
            for at, text in enumerate(texts):
                seeding.add_trace(within, f"t{known + at}", Split.TRAIN, text=text)

        seeding.at_once(self.store, add)
        made = seeding.rows(self.store, CandidateRow)[known:]
        wanted = [Wanted(self.role, "score", purpose, row.trace_id, row.id) for row in made]
        self.store.write(lambda c: judgements.request(c, wanted, self.clock.now()))
        return [row.id for row in made]

    def want_pair(self, first: str, second: str, **changes: Any) -> tuple[int, int]:
        name = f"p{seeding.count(self.store, CandidateRow)}"
        trace_id = seeding.add_trace(self.store, name, Split.AUDIT, text=first)
        a = seeding.rows(self.store, CandidateRow)[-1].id
        b = seeding.add_candidate(self.store, trace_id, second)
        values: Mapping[str, Any] = {"purpose": "audit", **changes}
        wanted = Wanted(self.role, "pair", trace_id=trace_id, candidate_id=a, other_id=b, **values)
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
        return self.metrics.registry.get_sample_value(f"rlaifd_{name}", labels) or 0.0


def asked(judge: Judge) -> list[JudgeRequest]:
    """What a memory judge was asked."""
    assert isinstance(judge, MemoryJudge)
    return judge.asked


def over_http(url: str, *, deadline_s: float = 10.0) -> OpenAIJudge:
    return OpenAIJudge(
        name="small", family="judges", model="m", api_key="k", base_url=url, deadline_s=deadline_s
    )
