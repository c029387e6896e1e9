"""Both arms are sampled once for an attempt, whatever fails, waits or is killed in between."""

import pytest
from structlog.testing import capture_logs

from daemon.store.overview import overview
from daemon.store.tables import CandidateRow, EvaluationRow, JudgementRow, TraceRow
from policies.records import Scope, Split
from tests.daemon.stages.gate.world import NAME, World
from tests.daemon.stages.seeding import add_adapter, add_trace, add_traces, count, put_in_force, rows


def kill() -> None:
    raise KeyboardInterrupt


def test_both_arms_are_stored_and_shown_in_mixed_order(world: World) -> None:
    """The candidate is first in some comparisons and second in others."""
    put_in_force(world.store, "test-old", 3)
    world.run()
    arms = [row for row in rows(world.store, CandidateRow) if row.batch.startswith("gate:")]
    assert {(row.adapter, row.sample) for row in arms} == {(NAME, 0), ("test-old", 1)}
    adapters = {row.id: row.adapter for row in arms}
    asked = [row for row in rows(world.store, JudgementRow) if row.purpose == "gate"]
    assert len(asked) == 20
    first = [adapters[row.candidate_id] for row in asked]
    assert 3 <= first.count(NAME) <= 17
    assert rows(world.store, EvaluationRow)[0].epoch == 3


def test_one_prompt_a_cluster_and_at_most_so_many(world: World) -> None:
    """Repeated prompts count once; the number of prompts is bounded; no other split is asked."""
    for index in range(5):
        add_trace(world.store, f"again{index}", Split.GATE, cluster="gate0")
    world.run()
    asked = world.comparer.calls[0][0]
    assert len(asked) == 20
    assert all(name.startswith("gate") for name in asked)
    add_traces(world.store, [f"gate1{index:03}" for index in range(100)], Split.GATE)
    add_adapter(world.store, "test-bbb", created_at=1.0)
    world.run()
    assert len(world.comparer.calls[1][0]) == 60


def test_before_sampling_a_moved_stable_adapter_costs_nothing(world: World) -> None:
    """The attempt turns to what is in force."""
    world.stage().advance()
    put_in_force(world.store, "test-new", 1)
    assert world.run().decision == "promote"
    assert world.comparer.calls[0][2] == "test-new"


def test_a_failing_comparison_is_tried_three_times_and_held(world: World) -> None:
    """Then the next adapter has its turn; a stopped one does not count."""
    world.comparer.figures = {"state": "stopped"}
    stage = world.stage()
    stage.advance()
    for _ in range(4):
        stopped = stage.advance()
        assert stopped is not None
        assert stopped.did == "waiting"
    world.comparer.figures = {"state": "failed", "reason": "cannot load"}
    assert stage.step() == 0
    done = world.run()
    assert done.decision == "hold"
    assert "sampling: failed 3 times: cannot load" in done.reasons


def test_a_kill_while_sampling_costs_only_the_sampling(world: World) -> None:
    """Nothing is stored; the next run asks the same with the same seed and carries on."""
    world.comparer.before = kill
    world.stage().advance()
    with pytest.raises(KeyboardInterrupt):
        world.stage().advance()
    assert not [row for row in rows(world.store, CandidateRow) if row.batch.startswith("gate:")]
    world.comparer.before = lambda: None
    assert world.run().decision == "promote"
    assert world.comparer.calls[0] == world.comparer.calls[1]
    assert count(world.store, EvaluationRow) == 1


def test_two_workers_on_one_attempt_store_it_once(world: World) -> None:
    """The slower one finds it judging and adds nothing."""
    world.stage().advance()
    other = world.stage()

    def _faster() -> None:
        world.comparer.before = lambda: None
        other.advance()

    world.comparer.before = _faster
    world.stage().advance()
    assert len(world.comparer.calls) == 2
    arms = [row for row in rows(world.store, CandidateRow) if row.batch.startswith("gate:")]
    assert len(arms) == 40
    assert sum(row.purpose == "gate" for row in rows(world.store, JudgementRow)) == 20


def test_while_judging_is_halted_nothing_is_sampled(world: World) -> None:
    """The attempt waits."""
    world.halts.halted.add(Scope.JUDGING)
    stage = world.stage()
    stage.advance()
    waits = stage.advance()
    assert waits is not None
    assert (waits.did, world.comparer.calls) == ("waiting", [])


def test_a_prompt_that_kills_the_comparison_holds_no_adapter(world: World) -> None:
    """It is found and set aside, for all adapters to come; the others decide."""
    world.comparer.kills = {"gate7"}
    with capture_logs() as logged:
        assert world.run().decision == "promote"
    assert [each["event_id"] for each in logged if each["event"] == "prompt_set_aside"] == ["gate7"]
    assert sorted(world.comparer.calls[-1][0]) == sorted(f"gate{n}" for n in range(20) if n != 7)
    traces = rows(world.store, TraceRow)
    assert {row.event_id for row in traces if row.refused is not None} == {"gate7"}
    assert {row.trial for row in traces} == {None}
    arms = [row for row in rows(world.store, CandidateRow) if row.batch.startswith("gate:")]
    assert len(arms) == 38
    assert world.gauge("sampling_prompts_total", outcome="set_aside") == 1
    asked = len(world.comparer.calls)
    add_adapter(world.store, "test-bbb", created_at=1.0)
    world.run()
    assert len(world.comparer.calls) == asked + 1


def test_an_adapter_that_kills_every_comparison_is_held(world: World) -> None:
    """It dies on a plain question too: no prompt is suspected; after three failures others have a turn."""
    world.comparer.kills = {"*"}
    done = world.run()
    assert done.decision == "hold"
    assert any("failed 3 times: it dies on a plain question as well" in reason for reason in done.reasons)
    assert {(row.trial, row.refused) for row in rows(world.store, TraceRow)} == {(None, None)}


def test_prompts_that_are_refused_are_told_and_left_out(world: World) -> None:
    """With their number and the first reason, in the evidence, the log and the metric."""
    world.comparer.refuses = {"gate3": "has 9 tokens", "gate5": "no roles"}
    with capture_logs() as logged:
        assert world.run().decision == "promote"
    (said,) = [each for each in logged if each["event"] == "evaluation_sampled"]
    assert (said["prompts"], said["refused"]) == (20, 2)
    assert said["reason"] in {"has 9 tokens", "no roles"}
    evidence = rows(world.store, EvaluationRow)[0].evidence
    assert (evidence["prompts"], evidence["answered"], evidence["refused"]) == (20, 18, 2)
    assert evidence["refusal"] == said["reason"]
    assert world.gauge("sampling_prompts_total", outcome="refused") == 2
    assert world.gauge("sampling_prompts_total", outcome="answered") == 18


def test_cut_off_answers_are_counted_and_shown(world: World) -> None:
    """Of both arms; a promotion names them, and status shows them."""
    world.comparer.cut = (lambda index: index < 3, lambda index: index < 5)
    done = world.run()
    assert done.decision == "promote"
    assert "3 of the candidate's 20 answers ended at the limit of length, 5 of the stable" in done.reasons[0]
    assert world.gauge("answers_total", origin="challenger", ending="cut") == 3
    assert world.gauge("answers_total", origin="stable", ending="cut") == 5
    assert world.gauge("answers_total", origin="stable", ending="whole") == 15
    (shown,) = world.store.read(lambda c: overview(c, day="2026-01-01"))["evaluations"]
    assert shown["cut_off"] == {"answered": 20, "candidate": 3, "stable": 5}
    assert "evidence" not in shown


def test_a_candidate_that_is_cut_off_much_more_often_is_held(world: World) -> None:
    """Whatever it won: the judge did not see how its answers end. Another attempt may show it."""
    world.comparer.cut = (lambda index: index < 9, lambda index: index < 4)
    done = world.run()
    assert done.decision == "hold"
    (reason,) = done.reasons
    assert reason.startswith("cut off: 9 of the candidate's 20 answers ended at the limit of length, 4 of")
    assert "raise policy.sampling.max_new_tokens and evaluate again" in reason
    world.comparer.cut = (lambda index: False, lambda index: False)
    world.stage().open(NAME)
    assert world.run().decision == "promote"
