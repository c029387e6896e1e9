"""The judge stage: every judgement ends in one verdict, an abstention, or goes back with its reason."""

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import delete
from structlog.testing import capture_logs

from connectors.base import JudgeReply, JudgeRequest, TokenChoice, Usage
from connectors.errors import FatalError, PoisonError, RateLimitedError, TransientError
from connectors.judges.prices import PriceUnknownError
from connectors.memory import MemoryJudge
from daemon.clock import FakeClock
from daemon.config import JudgeConfig, Price
from daemon.errors import ConfigError
from daemon.stages.commits import GroupCommit
from daemon.stages.judge import MOST_CLAIMS, next_day
from daemon.store import judgements
from daemon.store.judgements import Wanted
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, EvaluationRow, JudgementRow
from policies.policy import JudgingRule
from policies.records import Role, Scope
from tests.daemon.stages import seeding
from tests.daemon.stages.court import CONFIG, Court, answering, asked

Answer = Callable[[JudgeRequest], str | JudgeReply]


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
    return CONFIG.model_copy(update=changes)


def test_a_score_is_the_mean_of_its_samples(store: Store) -> None:
    """Three calls, one verdict with critique, dimensions and reward under the ceiling."""
    scores = iter((8, 9, 10))
    court = Court(
        store, judge=MemoryJudge(answering(score=lambda case: next(scores))), rule=JudgingRule(ceiling=8.5)
    )
    court.want_scores("an answer")
    assert court.step() == 1
    (verdict,) = court.verdicts
    assert (verdict.value, verdict.reward, verdict.abstention) == (9, 8.5, None)
    assert verdict.critique == "told so"
    assert set(verdict.scores) == {"helpful", "correct", "safe", "clear"}
    assert (verdict.family, verdict.role, verdict.kind) == ("memory", "small", "score")
    assert [each.temperature for each in asked(court.judge)] == [1.0, 1.0, 1.0]
    assert [row.state for row in court.judgements] == ["done"]


def test_a_pair_is_judged_in_both_orders(store: Store) -> None:
    """The better answer wins wherever it stands; the verdict is in the row's own order."""
    court = Court(store)
    court.want_pair("short", "a longer answer")
    assert court.step() == 1
    (verdict,) = court.verdicts
    assert (verdict.choice, verdict.flipped, verdict.confidence) == ("b", False, 1.0)
    assert sorted(row.order for row in court.calls) == ["AB", "BA"]


def test_a_flip_is_no_choice_and_no_tie(store: Store) -> None:
    """A judge that always prefers the first says nothing."""
    court = Court(store, judge=MemoryJudge(answering(verdict=lambda case: "A")))
    court.want_pair("one", "two")
    court.step()
    (verdict,) = court.verdicts
    assert (verdict.choice, verdict.flipped, verdict.confidence, verdict.abstention) == (
        None,
        True,
        0.0,
        None,
    )
    assert court.metric("verdicts_total", judge="small", kind="pair", result="flipped") == 1


def test_log_probabilities_save_the_samples(store: Store) -> None:
    """One call, and the expected value over the alternatives."""
    good = answering(score=lambda case: 7)

    def answer(request: JudgeRequest) -> JudgeReply:
        said = good(request)
        head = said[: -len("7}")]
        choice = TokenChoice("7", {"7": math.log(0.5), "8": math.log(0.5)})
        tokens = (TokenChoice(head, {}), choice, TokenChoice("}", {}))
        return JudgeReply(said, "m", "stop", Usage(1, 1), 0.0, {}, {}, tokens)

    court = Court(store, judge=MemoryJudge(answer), config=config(logprobs=True))
    court.want_scores("an answer")
    assert court.step() == 1
    assert court.verdicts[0].value == pytest.approx(7.5)
    assert len(court.calls) == 1


def test_without_usable_log_probabilities_samples_are_asked_for(store: Store) -> None:
    """A provider that promised them and sent none."""
    court = Court(store, config=config(logprobs=True))
    court.want_scores("four")
    assert court.step() == 1
    assert court.verdicts[0].value == 4
    assert [each.logprobs for each in asked(court.judge)] == [True, False, False]


def test_an_unreadable_answer_gets_one_repair_question(store: Store) -> None:
    """It quotes the answer and says what was wrong; the repaired answer counts."""
    good = answering()
    court = Court(
        store,
        judge=MemoryJudge(lambda request: good(request) if len(request.messages) > 1 else "I like it"),
        rule=JudgingRule(samples=1),
    )
    court.want_scores("four")
    court.step()
    assert court.verdicts[0].value == 4
    assert [(row.outcome, row.repair) for row in court.calls] == [("unparseable", False), ("ok", True)]
    assert asked(court.judge)[1].messages[1].content == "I like it"


def test_unreadable_twice_is_an_abstention(store: Store) -> None:
    """It is stored with its reason and counted; nothing is guessed."""
    court = Court(store, judge=MemoryJudge(lambda request: "7, or 8"), rule=JudgingRule(samples=1))
    court.want_scores("four")
    assert court.step() == 1
    (verdict,) = court.verdicts
    assert (verdict.value, verdict.reward, verdict.choice) == (None, None, None)
    assert verdict.abstention == "neither JSON nor a sentinel line"
    assert court.metric("verdicts_total", judge="small", kind="score", result="abstained") == 1
    assert len(court.calls) == 2


def test_a_refusal_is_an_abstention(store: Store) -> None:
    """A poisoned item never blocks the queue."""
    court = Court(store, judge=MemoryJudge(raising(PoisonError("refused"))), rule=JudgingRule(samples=1))
    court.want_scores("bad", "good")
    assert court.step() == 2
    assert sorted((row.abstention or "") for row in court.verdicts) == ["", "refused"]
    assert "refused" in {row.outcome for row in court.calls}


def test_transient_errors_are_retried_in_one_layer(store: Store) -> None:
    """Failed calls are stored too, with what was asked."""
    errors = (TransientError("500"), RateLimitedError("429", 3.0), None)
    court = Court(store, judge=MemoryJudge(raising(*errors)), rule=JudgingRule(samples=1))
    court.want_scores("four")
    assert court.step() == 1
    assert [row.outcome for row in court.calls] == ["http_error", "rate_limited", "ok"]
    assert court.calls[0].response == {"error": "500"}
    assert "four" in str(court.calls[0].request)
    assert 3.0 in [round(each, 3) for each in court.slept] or sum(court.slept) >= 3.0


def test_what_cannot_be_judged_now_goes_back_for_later(store: Store) -> None:
    """After its attempts the judgement is open again, due later, with the reason; later it is judged."""
    clock = FakeClock()
    court = Court(
        store,
        clock=clock,
        judge=MemoryJudge(raising(*[TransientError("503")] * 4)),
        rule=JudgingRule(samples=1),
        config=config(attempts=2),
    )
    court.want_scores("four")
    stage = court.stage()
    assert court.step(stage) == 0
    (row,) = court.judgements
    assert (row.state, row.token, row.error) == ("open", None, "503")
    assert clock.now() < row.not_before <= clock.now() + 60
    assert court.step(stage) == 0
    assert len(court.calls) == 2
    clock.advance(120)
    assert court.step(stage) == 0
    clock.advance(120)
    assert court.step(stage) == 1
    assert len(court.verdicts) == 1


def test_an_outage_is_said_once(store: Store, clock: FakeClock) -> None:
    """The log names it when it begins, and again only after answers came in between."""
    down = [TransientError("down")]
    court = Court(
        store,
        clock=clock,
        judge=MemoryJudge(raising(*down * 2, None, *down)),
        config=config(attempts=1),
        rule=JudgingRule(samples=1),
    )
    stage = court.stage()
    court.want_scores("a")
    with capture_logs() as logged:
        finished = []
        for _ in range(4):
            finished.append(court.step(stage))
            clock.advance(120)
            if finished[-1]:
                court.want_scores("b")
    said = [(each["event"], each["error"]) for each in logged if each["event"] == "judge_unanswered"]
    assert finished == [0, 0, 1, 0]
    assert said == [("judge_unanswered", "down")] * 2


def test_a_fatal_error_puts_everything_back_and_raises(store: Store) -> None:
    """Wrong credentials cost neither verdicts nor claims."""
    court = Court(store, judge=MemoryJudge(raising(*[FatalError("401")] * 99)), config=config(concurrency=2))
    court.want_scores(*"abcdefgh")
    with pytest.raises(FatalError, match="401"):
        court.step()
    assert {(row.state, row.token) for row in court.judgements} == {("open", None)}
    assert court.verdicts == []
    assert len(court.calls) <= 4


def test_a_judgement_that_breaks_the_code_is_given_up(store: Store, clock: FakeClock) -> None:
    """It waits longer each time and fails in the end; the others go on."""
    court = Court(store, clock=clock, judge=MemoryJudge(raising(*[RuntimeError("a bug\0")] * 99)))
    court.want_scores("a")
    for attempt in range(MOST_CLAIMS):
        assert {row.state for row in court.judgements} == {"open"}, attempt
        with pytest.raises(RuntimeError, match="a bug"):
            court.step()
        assert court.step() == 0  # not due again at once
        clock.advance(120)
    (row,) = court.judgements
    assert (row.state, row.token) == ("failed", None)
    assert court.step() == 0


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


def test_an_unknown_price_without_a_budget_is_said(store: Store) -> None:
    """Its costs are counted as nothing: the log says so at the start."""
    with capture_logs() as logged:
        Court(store, config=config(price=None, base_url="http://127.0.0.1:1/v1")).stage()
    assert [each["role"] for each in logged if each["event"] == "judge_price_unknown"] == ["small"]


def test_a_stored_answer_is_not_paid_for_again(store: Store) -> None:
    """The same judge on the same prompt: from the store, for another purpose and after a restart."""
    court = Court(store)
    (candidate,) = court.want_scores("four")
    court.drain()
    assert len(asked(court.judge)) == 3
    trace_id = seeding.rows(store, CandidateRow)[0].trace_id
    wanted = Wanted(Role.SMALL, "score", "curate", trace_id, candidate)
    court.store.write(lambda c: judgements.request(c, [wanted], 0.0))
    assert court.drain() == 1
    assert len(asked(court.judge)) == 3
    assert [row.value for row in court.verdicts] == [4, 4]
    assert court.verdicts[1].cost_usd == 0
    assert court.metric("judge_calls_total", judge="small", outcome="reused") == 3


def test_another_version_asks_anew(store: Store) -> None:
    """A changed judge's old answers are not its own."""
    court = Court(store)
    (candidate,) = court.want_scores("four")
    court.drain()
    other = Court(store, config=config(max_tokens=99))
    trace_id = seeding.rows(store, CandidateRow)[0].trace_id
    wanted = Wanted(Role.SMALL, "score", "curate", trace_id, candidate)
    store.write(lambda c: judgements.request(c, [wanted], 0.0))
    other.drain()
    assert len(asked(other.judge)) == 3
    assert len({row.version for row in other.verdicts}) == 2


def test_the_same_question_twice_at_once_is_asked_once(store: Store) -> None:
    """Two judgements of one prompt in one batch share the answer."""
    court = Court(store, rule=JudgingRule(samples=1))
    (candidate,) = court.want_scores("four")
    trace_id = seeding.rows(store, CandidateRow)[0].trace_id
    wanted = [Wanted(Role.SMALL, "score", purpose, trace_id, candidate) for purpose in ("curate", "audit")]
    store.write(lambda c: judgements.request(c, wanted, 0.0))
    assert court.step() == 3
    assert len(asked(court.judge)) == 1


def test_a_halt_stops_judging_until_it_is_resumed(store: Store) -> None:
    """Nothing is claimed, nothing is asked."""
    court = Court(store)
    court.want_scores("four")
    court.latch.halt(Scope.JUDGING, reason="drift", source="guard", actor="test")
    stage = court.stage()
    assert court.step(stage) == 0
    assert asked(court.judge) == []
    assert court.judgements[0].attempts == 0
    court.latch.resume(Scope.JUDGING, actor="test", reason="looked at")
    assert court.step(stage) == 1


PRICED = Price(input_per_million=1000.0, output_per_million=1000.0)


def test_the_budget_ends_the_day(store: Store) -> None:
    """No call passes the limit; what is left waits for the next UTC day and is judged then."""
    clock = FakeClock()
    court = Court(
        store,
        clock=clock,
        config=config(price=PRICED, daily_budget_usd=2.5, max_tokens=500, concurrency=2),
        rule=JudgingRule(samples=1),
    )
    court.want_scores(*(f"answer {at}" for at in range(20)))
    stage = court.stage()
    done = court.drain(stage)
    while any(row.not_before < next_day(clock.now()) for row in court.judgements if row.state == "open"):
        clock.advance(60)
        done += court.drain(stage)
    assert 3 < done < 20
    spent = sum(row.cost_usd for row in court.calls)
    assert spent <= 2.5
    assert court.budget.spent_today("small").total == pytest.approx(spent)
    waiting = [row for row in court.judgements if row.state == "open"]
    assert {row.not_before for row in waiting} == {next_day(clock.now())}
    clock.advance(86_400)
    assert court.drain(stage) > 0


def test_money_that_is_only_reserved_is_waited_for(store: Store, clock: FakeClock) -> None:
    """Calls under way may cost less than they hold: what they kept from being asked waits no whole day."""
    court = Court(
        store,
        clock=clock,
        config=config(price=PRICED, daily_budget_usd=5.0, max_tokens=500),
        rule=JudgingRule(samples=1),
    )
    court.want_scores("four")
    stage, held = court.stage(), court.budget.reserve("small", 4.9, 5.0)
    assert court.step(stage) == 0
    (row,) = court.judgements
    assert row.not_before < clock.now() + 120
    court.budget.settle(held, 0.1)
    clock.advance(120)
    assert court.step(stage) == 1


def test_a_budget_without_a_price_is_refused_at_the_start(store: Store) -> None:
    """Unknown is not zero."""
    court = Court(store, config=config(model="own", price=None, daily_budget_usd=1.0))
    with pytest.raises(PriceUnknownError, match=r"judges\.small\.price"):
        court.stage()


def test_the_budget_settles_what_calls_cost(store: Store) -> None:
    """Nothing stays reserved, also where calls failed."""
    court = Court(
        store,
        config=config(price=PRICED, daily_budget_usd=500.0, attempts=2),
        judge=MemoryJudge(raising(TransientError("500"), None, PoisonError("no"))),
    )
    court.want_scores("one", "two", "three")
    court.drain()
    spent = court.budget.spent_today("small")
    assert spent.reserved == 0
    assert spent.calls == len(court.calls)
    assert spent.settled == pytest.approx(sum(row.cost_usd for row in court.calls))
    assert sum(row.cost_usd for row in court.calls) > 0


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


def test_claims_shorter_than_a_call_are_refused_at_the_start(store: Store) -> None:
    """Nothing would ever be judged."""
    with pytest.raises(ConfigError, match=r"stages\.claim_s \(5\).*judges\.small\.deadline_s"):
        Court(store, claim_s=5.0).stage()


def test_no_more_is_claimed_than_the_rate_lets_through(store: Store) -> None:
    """Six calls a minute are eight judgements of three samples in the four minutes that a claim leaves."""
    court = Court(store, config=config(requests_per_minute=6))
    court.want_scores(*(f"answer {at}" for at in range(12)))
    assert court.step() == 8
    assert [row.attempts for row in court.judgements].count(1) == 8


def test_gate_scores_of_the_contender_are_the_candidates(store: Store) -> None:
    """The reward histogram tells the arms apart."""
    court = Court(store, role=Role.GATE)
    seeding.add_adapter(store, "new")
    evaluation = seeding.put(
        store, EvaluationRow, adapter="new", state="judging", epoch=0, evidence={}, reasons=[], created_at=0.0
    )
    court.want_scores("four")
    trace_id = seeding.rows(store, CandidateRow)[0].trace_id
    for adapter in ("new", "old"):
        candidate = seeding.add_candidate(store, trace_id, f"by {adapter}", adapter=adapter)
        wanted = Wanted(Role.GATE, "score", "gate", trace_id, candidate, evaluation_id=evaluation)
        store.write(partial(judgements.request, wanted=[wanted], now=0.0))
    assert court.drain() == 3
    assert court.metric("reward_score_count", judge="gate", slot="candidate") == 1
    assert court.metric("reward_score_count", judge="gate", slot="stable") == 2


def test_odd_bytes_of_a_judge_are_stored(store: Store) -> None:
    """NUL and lone surrogates are in no database; the verdict is."""

    def odd(request: JudgeRequest) -> str:
        return answering()(request).replace("told so", "told \\u0000 \\ud800 so")

    court = Court(store, judge=MemoryJudge(odd))
    court.want_scores("four")
    assert court.step() == 1
    assert court.verdicts[0].critique == "told \ufffd \ufffd so"


def test_a_request_is_made_once(store: Store) -> None:
    """Also when a comparison is asked for the other way round."""
    court = Court(store)
    a, b = court.want_pair("one", "two")
    trace_id = court.judgements[0].trace_id
    mirrored = Wanted(Role.SMALL, "pair", "audit", trace_id, b, a)
    assert store.write(lambda c: judgements.request(c, [mirrored, mirrored], 0.0)) == 0
    assert store.read(lambda c: judgements.open_count(c, purpose="audit")) == 1


def test_a_group_commit_isolates_the_write_at_fault(store: Store) -> None:
    """One bad piece of work does not undo its neighbours'."""

    async def run() -> list[Any]:
        group = GroupCommit(store)

        def work(at: int) -> Callable[[Any], int]:
            def write(connection: Any) -> int:
                if at == 3:
                    raise ValueError("mine")
                return at

            return write

        return await asyncio.gather(*(group.write(work(at)) for at in range(6)), return_exceptions=True)

    results = asyncio.run(run())
    assert [each for each in results if isinstance(each, int)] == [0, 1, 2, 4, 5]
    assert str(results[3]) == "mine"
