"""The judge stage never waits for the slowest call: claims flow, and a drain puts back what is out."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from connectors.base import JudgeReply, JudgeRequest
from connectors.memory import MemoryJudge
from daemon.clock import FakeClock
from daemon.stages.judge.judge import JudgeStage
from daemon.store import judgements
from daemon.store.judgements import Wanted
from daemon.store.store import Store
from daemon.store.tables import CandidateRow
from policies.policy import JudgingRule
from policies.records import Scope
from policies.states import HaltSource, Purpose
from tests.daemon.stages import seeding
from tests.daemon.stages.judge.court import Court, answering, config

PATIENCE_S = 60.0
SLOW = "the slow one"


class Holding(MemoryJudge):
    """A judge that answers about `SLOW` only once `when` says so of what else it was asked."""

    def __init__(self, when: Callable[[list[JudgeRequest]], bool]) -> None:
        super().__init__(answering())
        self._when = when
        self.out = asyncio.Event()
        self._free = asyncio.Event()

    async def ask(self, request: JudgeRequest) -> JudgeReply:
        if SLOW in request.messages[0].content:
            self.out.set()
            async with asyncio.timeout(PATIENCE_S):
                await self._free.wait()
        reply = await super().ask(request)
        if self._when(self.asked):
            self._free.set()
        return reply


def court_of(store: Store, judge: MemoryJudge, others: int) -> tuple[Court, JudgeStage]:
    """A court with a place in flight for two, whose judge has answered; the slow judgement is the next."""
    one = JudgingRule(samples=1)
    court = Court(store, judge=judge, rule=one, config=config(concurrency=2), claim_batch=2)
    stage = court.stage()
    court.want_scores("a first answer")
    assert court.step(stage) == 1
    court.want_scores(SLOW, *(f"answer {at}" for at in range(others)))
    return court, stage


def test_a_free_place_claims_while_a_slow_call_is_out(store: Store) -> None:
    """The slow call is answered only after all others were asked: with a barrier it never would be."""
    court, stage = court_of(store, Holding(lambda asked: len(asked) == 1 + 30), 30)
    assert court.drain(stage) == 31
    assert [row.outcome for row in court.calls] == ["ok"] * 32
    assert SLOW in str(court.calls[-1].request), "it was answered last"
    assert {row.attempts for row in court.judgements} == {1}


def test_a_drain_puts_back_what_is_out(store: Store) -> None:
    """Cancelled while a slow call is out: nothing of it is kept, and its judgement is open for the next."""
    judge = Holding(lambda asked: False)
    court, stage = court_of(store, judge, 3)

    async def scene() -> None:
        step = asyncio.create_task(stage.step(court.role))
        await judge.out.wait()
        await step
        last = asyncio.create_task(stage.finish(court.role))
        await asyncio.sleep(0)
        last.cancel()
        with pytest.raises(asyncio.CancelledError):
            await last

    asyncio.run(scene())
    left = [row for row in court.judgements if row.state == "open"]
    assert [(row.id, row.token) for row in left] == [(2, None)]
    assert len(court.verdicts) == 4


def test_a_halt_stops_the_flow(store: Store) -> None:
    """What waits is put back and not claimed again; what is out is judged."""
    clock = FakeClock()
    good, asked = answering(), 0

    def halting(request: JudgeRequest) -> str:
        nonlocal asked
        asked += 1
        if asked == 3:
            court.latch.halt(Scope.JUDGING, reason="drift", source=HaltSource.GUARD, actor="test")
            clock.advance(2.0)
        return good(request)

    one = JudgingRule(samples=1)
    court = Court(store, clock=clock, rule=one, config=config(concurrency=1), claim_batch=4)
    court.judge = MemoryJudge(halting)
    court.want_scores(*(f"answer {at}" for at in range(20)))
    stage = court.stage()
    assert court.drain(stage) == 3
    waiting = [row for row in court.judgements if row.state == "open"]
    assert {(row.attempts, row.token) for row in waiting} == {(0, None)}
    assert len(waiting) == 17


def test_one_question_is_asked_once_however_it_was_claimed(store: Store) -> None:
    """Two judgements of one answer that are claimed one after the other share what the judge says."""
    judge = Holding(lambda asked: len(asked) == 1 + 2)
    court, stage = court_of(store, judge, 2)
    slow = seeding.rows(store, CandidateRow)[1]
    twin = Wanted(court.named, "score", Purpose.CURATE, slow.trace_id, slow.id)
    store.write(partial(judgements.request, wanted=[twin], now=0.0))
    assert court.drain(stage) == 4
    assert [SLOW in each.messages[0].content for each in judge.asked].count(True) == 1
    assert len(court.verdicts) == 5
