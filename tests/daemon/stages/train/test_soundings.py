"""What a run under way answers is scored by the large judge, first in its queue and out of its budget, and
told to the child; nothing is learned from it, and nothing is left of it when the run has ended.
"""

from collections.abc import Callable

import pytest

from connectors.memory import MemoryJudge
from daemon.stages.train.inputs import RunInputs
from daemon.store import alignment, outcomes, preferences
from daemon.store.tables import CandidateRow
from policies.curation import NoPreference, preference_of
from policies.policy import CurationRule, JudgingRule
from policies.records import Message, Role, Sampled, Split
from policies.training.jobs import Progress, TrainResult
from policies.training.soundings import Heard, Sounded, Sounding, heard_at, write_sounding
from tests.daemon.stages import seeding
from tests.daemon.stages.judge.court import PRICED, Court, answering, config
from tests.daemon.stages.train.bench import Bench, FakeChild, end_as, succeed
from tests.judges import LARGE, named

PROMPTS = 8


@pytest.fixture(autouse=True)
def _looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.stages.train.sounding.LOOK_S", -1.0)


@pytest.fixture
def court(bench: Bench) -> Court:
    """The large judge on the bench's store: a score is the answer's length."""
    return Court(
        bench.store, clock=bench.clock, role=Role.LARGE, rule=JudgingRule(samples=1), claim_batch=PROMPTS,
        config=config(price=PRICED, daily_budget_usd=1000.0),
    )  # fmt: skip


@pytest.fixture
def known(bench: Bench) -> list[int]:
    """The ids of as many train events."""
    return seeding.add_traces(bench.store, [f"s{n}" for n in range(PROMPTS)], Split.TRAIN, sampled_at=2.0)


def sound(child: FakeChild, step: int, known: list[int], text: str = "words") -> None:
    """What a child does that is sounded."""
    said = Sampled(messages=(Message(role="assistant", content=text),))
    answers = tuple(Sounded(trace=each, answer=said, reward=1.0) for each in known)
    write_sounding(child.job.out, Sounding(step=step, answers=answers))
    child.tell(Progress(event="sounded", step=step))


def sounding(
    known: list[int], then: Callable[[FakeChild], None] = lambda _: None
) -> Callable[..., TrainResult]:
    def act(child: FakeChild) -> TrainResult:
        sound(child, 0, known)
        then(child)
        return succeed(child)

    return act


def drained(court: Court) -> None:
    court.drain()


def test_the_large_judge_scores_them_before_all_else(bench: Bench, court: Court, known: list[int]) -> None:
    """They are judgements like any other: calls are stored whole, and money is reserved and settled."""
    court.want_scores(*(f"audit {n}" for n in range(4)))
    seen: list[Heard | None] = []

    def judged(child: FakeChild) -> None:
        seen.append(heard_at(child.job.out, 0))
        assert court.step() == PROMPTS + 4
        child.tell(Progress(event="step", step=1))
        seen.append(heard_at(child.job.out, 0))

    bench.act = sounding(known, judged)
    assert bench.train().state == "done"
    assert seen == [None, Heard(step=0, scores=dict.fromkeys(known, 5.0))]
    first = sorted(court.calls, key=lambda row: row.id)[:PROMPTS]
    purposes = {row.id: row.purpose for row in court.judgements}
    assert {purposes[row.judgement_id] for row in first} == {"sounding"}
    spent = court.budget.spent_today(LARGE)
    assert (spent.calls, spent.reserved) == (PROMPTS + 4, 0)
    assert spent.settled == pytest.approx(sum(row.cost_usd for row in court.calls))
    assert bench.value("training_soundings", state="heard") == 1
    assert court.metric("reward_score_count", judge="large", role="large", slot="stable") == 4


def test_what_is_not_judged_when_the_run_ends_is_given_up(
    bench: Bench, court: Court, known: list[int]
) -> None:
    """Nothing is paid for an answer that nobody waits for, also where failed judgements are opened again."""
    court.config = config(price=PRICED, daily_budget_usd=1e-6)
    bench.act = sounding(known, lambda _: drained(court))
    assert bench.train().state == "done"
    assert court.calls == []
    assert {row.state for row in court.judgements} == {"failed"}
    assert bench.value("training_soundings", state="unheard") == 1
    bench.store.write(lambda c: outcomes.reopen_failed(c, Role.LARGE))
    court.config = config(price=PRICED, daily_budget_usd=1000.0)
    assert court.drain() == 0


def test_a_run_that_goes_on_has_its_soundings_judged_after_all(
    bench: Bench, court: Court, known: list[int]
) -> None:
    """What was given up with it is asked for again, and no answer is stored or paid for twice."""

    def stopped(child: FakeChild) -> TrainResult:
        sound(child, 0, known)
        (child.job.out / "checkpoints" / "checkpoint-1").mkdir(parents=True)
        return end_as("stopped", "asked to stop at step 1 of 9")(child)

    bench.act = stopped
    first = bench.train()

    def judged(child: FakeChild) -> None:
        assert child.job.out.name == first.run
        assert court.step() == PROMPTS
        child.tell(Progress(event="step", step=2))
        assert heard_at(child.job.out, 0) is not None

    bench.act = sounding(known, judged)
    assert bench.train().state == "done"
    assert len(court.calls) == PROMPTS
    assert len([row for row in seeding.rows(bench.store, CandidateRow) if row.origin == "sounded"]) == PROMPTS


def test_an_answer_that_the_judge_cannot_score_is_told_by_its_reason(
    bench: Bench, court: Court, known: list[int]
) -> None:
    """So is one whose prompt was erased. The others' figures come all the same."""
    court.judge = MemoryJudge(answering(score=lambda case: 5 if "bad" not in case.answers[0] else "?"))

    def judged(child: FakeChild) -> None:
        sound(child, 4, known[:1], "bad")
        sound(child, 8, [*known, 4711])
        court.drain()
        child.tell(Progress(event="step", step=9))
        bad, erased = heard_at(child.job.out, 4), heard_at(child.job.out, 8)
        assert bad is not None
        assert (bad.scores, sum(bad.missing.values())) == ({}, 1)
        assert erased is not None
        assert len(erased.scores) == PROMPTS
        assert erased.missing == {"its prompt is stored no more": 1}

    bench.act = sounding(known, judged)
    assert bench.train().state == "done"


def test_nothing_is_learned_from_them(bench: Bench, court: Court, known: list[int]) -> None:
    """No preference is made of them, and they are not among the rewards that say how a judge's spread is."""
    bench.act = sounding(known, lambda _: drained(court))
    bench.train()
    prompts = bench.store.read(lambda c: preferences.uncurated(c, limit=99))
    assert len(prompts) == PROMPTS
    for prompt in prompts:
        assert len(prompt.candidates) == 1
        assert isinstance(preference_of(prompt, CurationRule()), NoPreference)
    large = named(Role.LARGE, court.verdicts[0].version)
    assert bench.store.read(lambda c: alignment.spread(c, large, window=50)).count == 0


def test_a_divergence_is_a_metric_a_halt_and_the_runs_reason(bench: Bench) -> None:
    """On dry run the metric alone."""
    figures = {"reward": 2.5, "judge": -1.5, "diverged": 1.0}

    def apart(child: FakeChild) -> None:
        child.tell(Progress(event="divergence", step=4, metrics=figures, note="divergence: …"))

    bench.act = sounding([], apart)
    assert bench.train().state == "done"
    assert bench.value("training_diverged") == 1
    assert bench.value("training_divergence_points", view="judge") == -1.5

    def stopped(child: FakeChild) -> TrainResult:
        apart(child)
        return end_as("halted", "step 4: divergence: since the start the reward of fresh answers rose")(child)

    bench.act = stopped
    outcome = bench.train()
    assert (outcome.state, outcome.adapter) == ("halted", None)
    assert "divergence: since the start" in outcome.reason
    assert bench.value("halts_total", scope="training", source="guard") == 1
    assert bench.actions()[-1] == "training halted"


@pytest.mark.parametrize("judged", [True, False])
def test_a_child_is_told_whether_somebody_judges(bench: Bench, *, judged: bool) -> None:
    """Without a large judge it is never sounded."""
    bench.trainer._given = RunInputs(judges=(LARGE,) if judged else ())
    bench.train()
    assert bench.jobs[-1].judged is judged
