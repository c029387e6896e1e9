"""The judge stage makes one verdict or abstention of a judge's answers, and guesses nothing."""

import math
from functools import partial

import pytest

from connectors.base import JudgeReply, JudgeRequest, Partition, TokenChoice, Usage
from connectors.errors import PoisonError
from connectors.memory import MemoryJudge
from daemon.store import judgements
from daemon.store.judgements import Wanted
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, EvaluationRow
from daemon.store.traces import Arrival, store_batch
from policies.judging.prompts import cases_in
from policies.policy import JudgingRule, Splits
from policies.records import Message, Role, ToolCall, Trace
from policies.states import Purpose
from tests.daemon.stages import seeding
from tests.daemon.stages.judge.court import Court, answering, asked, config, raising
from tests.judges import GATE


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
        wanted = Wanted(GATE, "score", Purpose.GATE, trace_id, candidate, evaluation_id=evaluation)
        store.write(partial(judgements.request, wanted=[wanted], now=0.0))
    assert court.drain() == 3
    assert court.metric("reward_score_count", judge="gate", slot="challenger") == 1
    assert court.metric("reward_score_count", judge="gate", slot="stable") == 2


def test_odd_bytes_of_a_judge_are_stored(store: Store) -> None:
    """NUL and lone surrogates are in no database; the verdict is."""

    def odd(request: JudgeRequest) -> str:
        return answering()(request).replace("told so", "told \\u0000 \\ud800 so")

    court = Court(store, judge=MemoryJudge(odd))
    court.want_scores("four")
    assert court.step() == 1
    assert court.verdicts[0].critique == "told \ufffd \ufffd so"


def thinking_pair(court: Court) -> None:
    """A pair of answers, one of several messages, after a history with a thought and a tool."""
    call = ToolCall(name="find", arguments={"n": 7}, id="c1")
    trace = Trace(
        id="t",
        source="s",
        ts=0.0,
        messages=(
            Message(role="user", content="Where is 7?"),
            Message(role="assistant", reasoning="SECRET history", tool_calls=(call,)),
            Message(role="tool", content="scanned in Ulm", tool_call_id="c1"),
        ),
        output=(
            Message(role="assistant", reasoning="SECRET answer", tool_calls=(call,)),
            Message(role="tool", content="left Ulm", tool_call_id="c1"),
            Message(role="assistant", content="It left Ulm."),
        ),
    )
    arrival = Arrival(Partition("t", 0), 0, 1, b"", (trace,))
    splits = Splits(train=0.0, calibrate=0.0, audit=1.0, gate=0.0)
    court.store.write(lambda c: store_batch(c, source="s", arrivals=[arrival], splits=splits, now=0.0))
    (logged,) = seeding.rows(court.store, CandidateRow)
    other = seeding.add_candidate(court.store, logged.trace_id, "No idea.")
    wanted = Wanted(court.named, "pair", Purpose.AUDIT, logged.trace_id, logged.id, other_id=other)
    court.store.write(lambda c: judgements.request(c, [wanted], 0.0))


def test_a_judge_sees_calls_and_results_and_no_thought(store: Store) -> None:
    """Of the history and of an answer of several messages; a thought is neither shown nor judged."""
    court = Court(store)
    thinking_pair(court)
    assert court.step() == 1
    first = asked(court.judge)[0]
    shown = cases_in(first.messages[0].content)
    assert [turn.text for turn in shown.turns] == ["Where is 7?", '[find {"n":7}]', "scanned in Ulm"]
    assert set(shown.answers) == {'[find {"n":7}]\n[result of find: left Ulm]\nIt left Ulm.', "No idea."}
    assert shown.reasoning == ()
    assert "SECRET" not in f"{asked(court.judge)}"


def test_a_judge_sees_thoughts_where_the_policy_says_so(store: Store) -> None:
    """In parts of their own, told of in the system text, as another version."""
    court = Court(store, rule=JudgingRule(show_reasoning=True))
    thinking_pair(court)
    assert court.step() == 1
    for request in asked(court.judge):
        shown = cases_in(request.messages[0].content)
        thought = dict(zip(shown.answers, shown.reasoning, strict=True))
        assert thought["No idea."] == ""
        assert "SECRET answer" in thought.values()
        assert [turn.reasoning for turn in shown.turns] == ["", "SECRET history", ""]
        assert "SECRET" not in f"{shown.answers}"
        assert "REASONING" in request.system
    assert court.verdicts[0].version != Court(store).named.version
