"""The judge stage works on what it has claimed, as long as it has it and may."""

from sqlalchemy import delete

from connectors.base import JudgeRequest
from connectors.memory import MemoryJudge
from daemon.clock import FakeClock
from daemon.store.store import Store
from daemon.store.tables import JudgementRow
from policies.policy import JudgingRule
from policies.records import Scope
from policies.states import HaltSource
from tests.daemon.stages import seeding
from tests.daemon.stages.judge.court import Court, answering, asked, config


def test_a_judgement_that_disappears_meanwhile_stops_nothing(store: Store) -> None:
    """Erased with its trace while the judge answers: its call has nowhere to be stored, the others have."""
    court = Court(store, rule=JudgingRule(samples=1))
    court.want_scores("four", "seventh")

    def answer(request: JudgeRequest) -> str:
        if "seventh" in request.messages[0].content:
            gone = seeding.table(JudgementRow)
            store.write(lambda c: c.execute(delete(gone).where(gone.c.candidate_id == 2)))
        return answering()(request)

    court.judge = MemoryJudge(answer)
    assert court.step() == 1
    assert [row.candidate_id for row in court.verdicts] == [1]


def test_a_halt_stops_judging_until_it_is_resumed(store: Store) -> None:
    """Nothing is claimed, nothing is asked."""
    court = Court(store)
    court.want_scores("four")
    court.latch.halt(Scope.JUDGING, reason="drift", source=HaltSource.GUARD, actor="test")
    stage = court.stage()
    assert court.step(stage) == 0
    assert asked(court.judge) == []
    assert court.judgements[0].attempts == 0
    court.latch.resume(Scope.JUDGING, actor="test", reason="looked at")
    assert court.step(stage) == 1


def test_work_that_another_took_over_is_not_stored(store: Store) -> None:
    """The token decides: the verdict of a worker that was thought dead is dropped."""
    court = Court(store)
    court.want_scores("four")

    def steal(request: JudgeRequest) -> str:
        store.write(lambda c: c.execute(seeding.table(JudgementRow).update().values(token="another's")))
        return answering()(request)

    court.judge = MemoryJudge(steal)
    assert court.step() == 0
    assert court.verdicts == []
    assert len(court.calls) == 3
    assert court.judgements[0].token == "another's"


def test_no_call_is_started_that_could_outlive_the_claim(store: Store) -> None:
    """Another may have taken over by then: what there was no time for goes back."""
    clock = FakeClock()
    good = answering()

    def slow(request: JudgeRequest) -> str:
        clock.advance(250)
        return good(request)

    court = Court(store, clock=clock, judge=MemoryJudge(slow), config=config(concurrency=1))
    court.want_scores("four")
    assert court.step() == 0
    assert len(asked(court.judge)) == 1
    assert (court.judgements[0].state, court.judgements[0].token) == ("open", None)


def test_no_more_is_claimed_than_the_rate_lets_through(store: Store) -> None:
    """Six calls a minute are seven judgements of three samples in the four minutes that a claim leaves: so
    many are held at a time, and none has to be put back.
    """
    held = []

    def looking(request: JudgeRequest) -> str:
        held.append(len([row for row in court.judgements if row.token is not None]))
        return answering()(request)

    court = Court(store, config=config(requests_per_minute=6), judge=MemoryJudge(looking))
    court.want_scores(*(f"answer {at}" for at in range(20)))
    assert court.drain() == 20
    assert max(held) == 7
    assert {row.attempts for row in court.judgements} == {1}
