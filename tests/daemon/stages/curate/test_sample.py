"""Answers are sampled to each prompt once, and judgements are asked for where they are missing."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from connectors.base import Samples
from daemon.clock import FakeClock
from daemon.errors import RlaifdError
from daemon.store.candidates import StoredPrompt
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, JudgementRow, TraceRow
from policies.policy import ChildSampling, JudgingRule
from policies.records import Message, Role, Sampled, Scope, Split, ToolCall
from tests.daemon.stages.curate.curating import FakeSampler, World, asked
from tests.daemon.stages.seeding import (
    add_trace,
    add_verdict,
    count,
    put_in_force,
    rows,
    sampled,
    spec,
)


@pytest.fixture
def world(store: Store, clock: FakeClock, tmp_path: Path) -> World:
    return World(store, clock, tmp_path / "snapshots")


def test_prompts_of_every_split_but_the_gate_are_sampled_once(world: World) -> None:
    """The gate's never are, nor prompts whose traffic is not planned yet; a second step finds nothing."""
    for split in Split:
        add_trace(world.store, split.value, split)
    add_trace(world.store, "fresh", Split.TRAIN, planned=False)
    stage = world.stage()
    assert stage.sample() == 3
    assert stage.sample() == 0
    assert [call[0] for call in world.sampler.calls] == [["train", "calibrate", "audit"]]
    sampled = [row for row in rows(world.store, CandidateRow) if row.origin == "sampled"]
    assert [(row.sample, row.batch) for row in sampled] == [(index, "base:1") for index in range(3)] * 3


def test_answers_come_from_the_adapter_in_force(world: World) -> None:
    """Its name is the candidates' adapter and part of their batch."""
    put_in_force(world.store, "test-abc", 1)
    add_trace(world.store, "one", Split.TRAIN)
    world.stage().sample()
    assert world.sampler.calls[0][1] == "test-abc"
    made = [row for row in rows(world.store, CandidateRow) if row.origin == "sampled"]
    assert {(row.adapter, row.batch) for row in made} == {("test-abc", "test-abc:1")}


def test_scores_are_asked_for_what_nobody_scored(world: World) -> None:
    """The logged answer's traffic score is not asked for again; the sampled ones' are."""
    scored = add_trace(world.store, "scored", Split.TRAIN)
    add_verdict(world.store, scored, rows(world.store, CandidateRow)[0].id, reward=5.0, purpose="traffic")
    add_trace(world.store, "bare", Split.TRAIN)
    world.stage().sample()
    wanted = [row for row in rows(world.store, JudgementRow) if row.state == "open"]
    assert {(row.role, row.kind, row.purpose) for row in wanted} == {("small", "score", "curate")}
    assert len(wanted) == 3 + 4


@pytest.mark.parametrize("split", [Split.AUDIT, Split.CALIBRATE])
def test_what_people_label_gets_comparisons_with_their_probability(world: World, split: Split) -> None:
    """Four of six pairs, for the large and the gate's judge, lower id first, and scores besides."""
    add_trace(world.store, "audited", split)
    world.stage().sample()
    pairs = [row for row in rows(world.store, JudgementRow) if row.kind == "pair"]
    assert len(pairs) == 8
    assert {row.role for row in pairs} == {"large", "gate"}
    assert {row.purpose for row in pairs} == {"audit"}
    assert all(row.candidate_id < row.other_id for row in pairs)
    assert all(row.probability == pytest.approx(4 / 6) for row in pairs)
    by_role = [
        {(row.candidate_id, row.other_id) for row in pairs if row.role == role} for role in ("large", "gate")
    ]
    assert by_role[0] == by_role[1]


def test_judges_that_are_not_configured_are_not_asked(world: World) -> None:
    """With the small judge alone there are no comparisons."""
    add_trace(world.store, "audited", Split.AUDIT)
    world.stage(roles=frozenset({Role.SMALL})).sample()
    assert asked(world.store) == {("small", "score", "curate", "open")}


def test_pairs_of_the_same_text_are_not_compared(world: World) -> None:
    """Nobody can choose between copies."""
    world.sampler.words = ""
    policy = spec(sampling=ChildSampling(candidates=1), judging=JudgingRule(review_pairs=4))
    add_trace(world.store, "audited", Split.AUDIT, text="0")
    world.stage(policy).sample()
    assert not [row for row in rows(world.store, JudgementRow) if row.kind == "pair"]


def test_a_failed_sampling_leaves_nothing_and_is_done_again(world: World) -> None:
    """The same prompts are asked with the same seed."""
    add_trace(world.store, "one", Split.TRAIN)
    world.sampler.error = RlaifdError("no device")
    with pytest.raises(RlaifdError):
        world.stage().sample()
    assert (count(world.store, CandidateRow), count(world.store, JudgementRow)) == (1, 0)
    world.sampler.error = None
    assert world.stage().sample() == 1
    assert world.sampler.calls[0] == world.sampler.calls[1]


def test_a_slower_worker_adds_nothing(world: World) -> None:
    """What another sampled while this one was at it stays as it is."""
    trace_id = add_trace(world.store, "one", Split.TRAIN)
    inner = world.sampler

    def _late(prompts: Sequence[StoredPrompt], *, count: int, adapter: str | None, seed: int) -> Samples:
        world.sampler = FakeSampler()
        other = world.stage()
        assert other.sample() == 1
        return inner(prompts, count=count, adapter=adapter, seed=seed)

    stage = world.stage(sample=_late)
    assert stage.sample() == 0
    assert sum(row.trace_id == trace_id for row in rows(world.store, CandidateRow)) == 4
    assert count(world.store, JudgementRow) == 4


def test_too_few_answers_are_refused(world: World) -> None:
    """A sampler that breaks its word is an error, not a short list."""
    add_trace(world.store, "one", Split.TRAIN)
    stage = world.stage(sample=lambda *_args, **_kwargs: Samples([[sampled("alone")]]))
    with pytest.raises(RlaifdError, match="other than 3 answers"):
        stage.sample()


def test_a_refused_prompt_is_done_with(world: World) -> None:
    """It has its logged answer alone, is not sampled again, and the others' answers are kept."""
    for name in ("odd", "even"):
        add_trace(world.store, name, Split.TRAIN)
    answers = [[], [sampled(word) for word in "abc"]]
    stage = world.stage(sample=lambda *_args, **_kwargs: Samples(answers, {0: "has 9 tokens"}))
    with capture_logs() as logged:
        assert stage.sample() == 2
    (said,) = [each for each in logged if each["event"] == "candidates_sampled"]
    assert (said["prompts"], said["answers"], said["refused"], said["reason"]) == (2, 3, 1, "has 9 tokens")
    assert world.counted("sampling_prompts_total", outcome="refused") == 1
    assert world.counted("sampling_prompts_total", outcome="answered") == 1
    assert [row.refused for row in rows(world.store, TraceRow)] == ["has 9 tokens", None]
    assert stage.sample() == 0
    assert [row.text for row in rows(world.store, CandidateRow) if row.origin == "sampled"] == ["a", "b", "c"]


def test_sampling_waits_for_company_but_not_for_ever(world: World) -> None:
    """A sampler is started for `least` prompts, or for one that has waited long enough."""
    stage = world.stage(least=2)
    assert stage.sampling.waits_for() == "no prompt of the train, calibrate or audit split waits for answers"
    add_trace(world.store, "one", Split.TRAIN, stored_at=world.clock.now())
    assert stage.sample() == 0
    assert stage.sampling.waits_for() == "1 of stages.sample_least (2) prompts wait for answers"
    world.clock.advance(301)
    assert stage.sample() == 1


def test_by_hand_nothing_is_waited_for(world: World) -> None:
    """An order samples what is there; the daemon's batching is for the daemon."""
    add_trace(world.store, "one", Split.TRAIN, stored_at=world.clock.now())
    stage = world.stage(least=32)
    assert stage.step() == 0
    assert stage.step(at_once=True) == 1
    assert stage.step(at_once=True) == 0


def test_a_policy_that_is_not_sampled_says_so(world: World) -> None:
    """With no candidates beside the logged answers nothing is due."""
    add_trace(world.store, "one", Split.TRAIN)
    stage = world.stage(spec(sampling=ChildSampling(candidates=0)))
    assert stage.sample(at_once=True) == 0
    assert "policy.sampling.candidates is 0" in (stage.sampling.waits_for(at_once=True) or "")


def test_cut_off_answers_are_counted(world: World) -> None:
    """By the sampler's word, and a thought without an answer; stored, logged and as a metric."""
    for name in ("one", "two"):
        add_trace(world.store, name, Split.TRAIN)
    thought = Sampled(messages=(Message(role="assistant", reasoning="hm"),))
    row = [sampled("whole"), sampled("cut", truncated=True), thought]
    stage = world.stage(sample=lambda prompts, **_: Samples([row for _ in prompts]))
    with capture_logs() as logged:
        assert stage.sample() == 2
    (said,) = [each for each in logged if each["event"] == "candidates_sampled"]
    assert (said["answers"], said["cut"]) == (6, 4)
    assert world.counted("answers_total", origin="sampled", ending="cut") == 4
    assert world.counted("answers_total", origin="sampled", ending="whole") == 2
    totals = stage.sampling.totals
    assert (totals.prompts, totals.answers, totals.cut, totals.refused) == (2, 6, 4, 0)
    stored = [row.truncated for row in rows(world.store, CandidateRow) if row.origin == "sampled"]
    assert stored == [False, True, True] * 2


def test_nothing_is_sampled_while_judging_is_halted(world: World) -> None:
    """Preferences are still made of what was judged before."""
    add_trace(world.store, "one", Split.TRAIN)
    world.halts.halted.add(Scope.JUDGING)
    stage = world.stage()
    assert stage.sample() == 0
    assert world.sampler.calls == []
    assert "judging is halted" in (stage.sampling.waits_for() or "")


def test_what_a_database_cannot_hold_is_replaced(world: World) -> None:
    """A policy may say NUL or half a surrogate pair; its answer is stored with U+FFFD instead."""
    world.sampler.words = "a\0b\ud800c"
    add_trace(world.store, "one", Split.TRAIN)
    world.stage().sample()
    made = [row for row in rows(world.store, CandidateRow) if row.origin == "sampled"]
    assert made[0].text == "a\ufffdb\ufffdc0"


def test_arguments_that_are_no_number_are_stored_by_name(world: World) -> None:
    """A model's call may hold what JSON does not have; the answer is stored and judged all the same."""
    add_trace(world.store, "one", Split.TRAIN)
    call = ToolCall(name="pay", arguments={"sum": float("nan"), "most": [float("inf")]})
    answer = Sampled(messages=(Message(role="assistant", tool_calls=(call,)),))
    stage = world.stage(
        spec(sampling=ChildSampling(candidates=1)), sample=lambda *_args, **_kwargs: Samples([[answer]])
    )
    assert stage.sample() == 1
    (made,) = [row for row in rows(world.store, CandidateRow) if row.origin == "sampled"]
    assert made.output[0]["tool_calls"][0]["arguments"] == {"sum": "nan", "most": ["inf"]}
    assert made.text == '[pay {"most":["inf"],"sum":"nan"}]'
