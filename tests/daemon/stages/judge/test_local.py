"""A judge that is a reward model: its verdicts and calls; a kill of its child loses and doubles nothing."""

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import FatalError
from daemon.budget import Budget
from daemon.children import resident
from daemon.children.resident import Resident
from daemon.clock import FakeClock
from daemon.config.judges import LocalJudgeConfig
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.stages.judge.judge import Claims, JudgeStage
from daemon.stages.judge.local import LocalAssessor
from daemon.store import judgements
from daemon.store.judgements import Wanted
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, JudgeCallRow, JudgementRow, VerdictRow
from daemon.wiring.assessors import Court
from policies.judging import constitution, rubric
from policies.policy import JudgingRule
from policies.records import Role, Split
from policies.states import Purpose
from policies.training.resident.protocol import JudgeJob
from tests.daemon.stages import seeding
from tests.judges import named
from tests.servers import scorer

MODEL = "support-reward-0123456789ab"
LATER_S = 120.0
"""By then what was put back is due."""


class Bench:
    """A stage with one local judge, whose child counts words."""

    def __init__(self, store: Store, directory: Path, *, role: Role = Role.SMALL, base: str = "base") -> None:
        self.store = store
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.named = named(role, name="counter")
        self.config = LocalJudgeConfig(role=role, type="local", model=MODEL, family="tiny", concurrency=4)
        self.rule = JudgingRule(ceiling=8.0)
        self.child = Resident(
            "counter",
            JudgeJob(base_model=base, reward=directory),
            directory=directory / "judge",
            at_once=4,
            start_s=60.0,
            answer_s=60.0,
            command=lambda job: [sys.executable, str(Path(scorer.__file__)), str(job)],
        )

    def assessor(self) -> LocalAssessor:
        court = Court(
            rule=self.rule,
            constitution=constitution.load("helpful"),
            rubric=rubric.load("support"),
            metrics=self.metrics,
            clock=self.clock,
            claims=Claims("test", 300.0, 16),
        )
        return court.local(self.named, self.child, self.config)

    def stage(self) -> JudgeStage:
        return JudgeStage(
            store=self.store,
            assessors=[self.assessor()],
            rule=self.rule,
            budget=Budget(self.store, self.clock, self.metrics),
            latch=Latch(self.store, self.clock, self.metrics),
            metrics=self.metrics,
            clock=self.clock,
            claims=Claims("test", 300.0, 16),
            seed=7,
        )

    def want(self, *texts: str) -> list[int]:
        """Logged answers to be scored."""
        ids = [
            seeding.add_trace(self.store, f"t{number}", Split.TRAIN, text=text)
            for number, text in enumerate(texts)
        ]
        made = [row for row in seeding.rows(self.store, CandidateRow) if row.trace_id in ids]
        asked = [Wanted(self.named, "score", Purpose.TRAFFIC, row.trace_id, row.id) for row in made]
        self.store.write(lambda c: judgements.request(c, asked, self.clock.now()))
        return [row.id for row in made]

    async def drained(self) -> None:
        """Steps, with time enough between them, until nothing is open."""
        stage = self.stage()
        try:
            while any(row.state == "open" for row in seeding.rows(self.store, JudgementRow)):
                await stage.step(self.named.name)
                await stage.finish(self.named.name)
                self.clock.advance(LATER_S)
        finally:
            await self.child.close()

    @property
    def verdicts(self) -> list[Any]:
        return seeding.rows(self.store, VerdictRow)

    @property
    def calls(self) -> list[Any]:
        return seeding.rows(self.store, JudgeCallRow)


def test_traffic_is_scored_for_nothing(store: Store, tmp_path: Path) -> None:
    """The verdict has the model's reward under the ceiling, names its release, and is the judge's by name."""
    bench = Bench(store, tmp_path)
    bench.want("one", "one two three", "word " * 9)
    asyncio.run(bench.drained())
    assert [(row.value, row.reward) for row in bench.verdicts] == [(1.0, 1.0), (3.0, 3.0), (9.0, 8.0)]
    assert {(row.judge, row.role, row.family, row.version) for row in bench.verdicts} == {
        ("counter", "small", "tiny", "v1")
    }
    assert {row.critique for row in bench.verdicts} == {f"reward model {MODEL}"}
    assert {row.cost_usd for row in [*bench.verdicts, *bench.calls]} == {0.0}
    assert [row.response for row in bench.calls] == [{"read": {"reward": each}} for each in (1.0, 3.0, 9.0)]
    assert bench.calls[0].request["answer"][0]["content"] == "one"
    labels = {"judge": "counter", "role": "small", "outcome": "ok"}
    assert bench.metrics.registry.get_sample_value("rlaifd_judge_calls_total", labels) == 3


def test_what_was_scored_is_not_scored_again(store: Store, tmp_path: Path) -> None:
    """Another judgement of the same answer uses the stored call."""
    bench = Bench(store, tmp_path)
    (answer,) = bench.want("one two")
    asyncio.run(bench.drained())
    trace = bench.verdicts[0].trace_id
    again = Wanted(bench.named, "score", Purpose.CURATE, trace, answer)
    store.write(lambda c: judgements.request(c, [again], 0.0))
    asyncio.run(bench.drained())
    assert [row.value for row in bench.verdicts] == [2.0, 2.0]
    assert len(bench.calls) == 1


def test_of_two_answers_the_higher_scored_is_preferred(store: Store, tmp_path: Path) -> None:
    """No order is there to flip; the same reward is a tie."""
    bench = Bench(store, tmp_path, role=Role.LARGE)
    pairs = []
    for name, text in (("better", "one two three"), ("same", "one")):
        trace = seeding.add_trace(store, name, Split.AUDIT, text="one")
        first = seeding.rows(store, CandidateRow)[-1].id
        other = seeding.add_candidate(store, trace, text)
        pairs.append(Wanted(bench.named, "pair", Purpose.AUDIT, trace, first, other))
    store.write(lambda c: judgements.request(c, pairs, 0.0))
    asyncio.run(bench.drained())
    found = [(row.choice, row.flipped, round(row.confidence, 3)) for row in bench.verdicts]
    assert found == [("b", False, 0.731), ("tie", False, 0.5)]


def test_an_answer_that_cannot_be_shown_is_an_abstention(store: Store, tmp_path: Path) -> None:
    """And nothing else is."""
    bench = Bench(store, tmp_path)
    bench.want("one", "unshowable", "two words")
    asyncio.run(bench.drained())
    said = [(row.value, row.abstention) for row in sorted(bench.verdicts, key=lambda row: row.candidate_id)]
    assert said == [(1.0, None), (None, "it cannot be shown"), (2.0, None)]
    assert Counter(row.outcome for row in bench.calls) == {"ok": 2, "refused": 1}


def test_a_model_that_cannot_be_loaded_stops_the_judge_and_costs_no_judgement(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """Everything stays open."""
    bench = Bench(sqlite_store, tmp_path, base="absent")
    bench.want("one", "two words")

    async def step() -> None:
        try:
            await bench.stage().step(bench.named.name)
        finally:
            await bench.child.close()

    with pytest.raises(FatalError, match="absent: no such model"):
        asyncio.run(step())
    assert [row.state for row in seeding.rows(sqlite_store, JudgementRow)] == ["open", "open"]


def test_kills_of_the_child_lose_and_double_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every judgement has one verdict, and it is that of its answer."""
    monkeypatch.setattr(resident, "MIN_REST_S", 0.0)
    bench = Bench(store, tmp_path)
    texts = ["word " * (1 + number % 9) for number in range(40)]
    answers = bench.want(*texts)
    killed = 0

    async def kill() -> None:
        nonlocal killed
        while killed < 4:
            await asyncio.sleep(0.03)
            scored = await asyncio.to_thread(seeding.count, store, VerdictRow)
            if bench.child.pid is not None and scored >= 6 * killed:
                os.kill(bench.child.pid, signal.SIGKILL)
                killed += 1

    async def both() -> None:
        killer = asyncio.create_task(kill())
        await bench.drained()
        killer.cancel()

    asyncio.run(both())
    assert killed >= 1
    assert bench.child.starts >= 2
    assert {row.state for row in seeding.rows(store, JudgementRow)} == {"done"}
    assert sorted(row.candidate_id for row in bench.verdicts) == sorted(answers)
    wanted = {answer: min(8.0, float(len(text.split()))) for answer, text in zip(answers, texts, strict=True)}
    assert {row.candidate_id: row.reward for row in bench.verdicts} == wanted
    assert not [row for row in bench.verdicts if row.abstention is not None]
