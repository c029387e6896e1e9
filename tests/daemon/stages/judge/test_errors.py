"""A judgement that the judge or the code fails goes back with its reason, or is given up in the end."""

import pytest
from structlog.testing import capture_logs

from connectors.errors import FatalError, RateLimitedError, TransientError
from connectors.memory import MemoryJudge
from daemon.clock import FakeClock
from daemon.stages.judge.judge import MOST_CLAIMS
from daemon.store.store import Store
from policies.policy import JudgingRule
from tests.daemon.stages.judge.court import Court, config, raising


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


def test_what_cannot_be_shown_stops_no_other_judgement(store: Store) -> None:
    """One case that cannot be rendered goes back with its error; the rest of the batch has verdicts."""
    numbers = iter(range(100))

    def nonce() -> str:
        number = next(numbers)
        if number == 0:
            raise RuntimeError("cannot be shown")
        return f"{number:0>16}"

    court = Court(store, rule=JudgingRule(samples=1))
    court.want_scores("a", "bb", "ccc")
    assert court.step(court.stage(nonce=nonce)) == 2
    first, *others = court.judgements
    assert (first.state, first.token, first.error) == ("open", None, "cannot be shown")
    assert [row.state for row in others] == ["done", "done"]
    assert len(court.verdicts) == 2
