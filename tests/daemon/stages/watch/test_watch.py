"""The watch stage shows what the store knows and latches what the rules ask for, once."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from daemon.budget import Budget
from daemon.clock import FakeClock
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.stages.watch.watch import Watch
from daemon.store import ledger
from daemon.store.store import Store
from daemon.store.tables import EvaluationRow, HaltRow
from policies.records import Role, Scope, Split
from policies.states import HaltSource
from tests.daemon.stages.seeding import (
    ROLES,
    add_adapter,
    add_candidate,
    add_label,
    add_labelled,
    add_trace,
    add_verdict,
    add_verdicts,
    at_once,
    count,
    lenient,
    put,
    rows,
)
from tests.judges import SMALL, all_of


@dataclass
class World:
    store: Store
    clock: FakeClock
    metrics: Metrics = field(default_factory=Metrics)
    names: Iterator[int] = field(default_factory=lambda: iter(range(100_000)))

    def __post_init__(self) -> None:
        self.latch = Latch(self.store, self.clock, self.metrics)
        self.budget = Budget(self.store, self.clock, self.metrics)

    def stage(self, roles: frozenset[Role] = ROLES, *, version: str = "v1") -> Watch:
        return Watch(
            store=self.store,
            clock=self.clock,
            metrics=self.metrics,
            spec=lenient(),
            judges=all_of(roles, version),
            latch=self.latch,
            budget=self.budget,
        )

    def gauge(self, name: str, judge: str | None = None, **labels: str) -> float:
        if judge is not None:
            labels |= {"judge": judge, "role": judge}
        found = self.metrics.registry.get_sample_value(f"rlaifd_{name}", labels)
        assert found is not None, name
        return found

    def label(self, right: int, wrong: int, *, version: str = "v1", split: Split = Split.AUDIT) -> None:
        """Labelled pairs on which the judges agree or not, a second later than the last ones."""
        self.clock.advance(1)

        agreeing = {f"audit{next(self.names)}": index < right for index in range(right + wrong)}
        at = self.clock.now()
        at_once(self.store, lambda to: add_labelled(to, agreeing, at=at, version=version, split=split))

    def score(self, *rewards: float, role: Role = Role.SMALL, purpose: str = "traffic") -> None:
        self.clock.advance(1)
        trace_id = add_trace(self.store, f"trace{next(self.names)}", Split.TRAIN)
        candidate = add_candidate(self.store, trace_id, "scored")
        of = {"trace_id": trace_id, "candidate_id": candidate, "created_at": self.clock.now()}
        how = {"role": role.value, "purpose": purpose}
        add_verdicts(self.store, [{**of, **how, "reward": reward} for reward in rewards])

    def resume(self, scope: Scope = Scope.TRAINING) -> None:
        self.clock.advance(1)
        assert self.latch.resume(scope, actor="ann", reason="looked at it") >= 1


@pytest.fixture
def world(store: Store, clock: FakeClock) -> World:
    return World(store, clock)


def test_alignment_is_shown_with_all_that_belongs_to_it(world: World) -> None:
    """Ratio, bounds, labels, coverage and limit, for each judge."""
    world.label(27, 3)
    assert world.stage().step() == 0
    for judge in ("small", "large", "gate"):
        assert world.gauge("human_judge_alignment_ratio", judge) == 0.9
        assert world.gauge("human_judge_alignment_labels", judge) == 30
        assert world.gauge("human_judge_alignment_coverage_ratio", judge) == 1
        assert world.gauge("human_judge_alignment_lower_bound_ratio", judge) == pytest.approx(0.774, abs=1e-3)
        assert world.gauge("human_judge_alignment_upper_bound_ratio", judge) == pytest.approx(0.959, abs=1e-3)
    assert world.gauge("human_judge_alignment_limit_ratio") == 0.8
    assert world.gauge("metrics_refresh_timestamp_seconds") == world.clock.now()


def test_what_a_sampled_source_kept_stands_for_what_it_did_not(world: World) -> None:
    """Three pairs of which a ninth was kept weigh as much as 27 of which all were; labels are counted."""
    world.label(0, 3)
    world.store.write(lambda c: c.exec_driver_sql("UPDATE trace SET kept_with = 1.0 / 9"))
    world.label(27, 0)
    world.stage().step()
    for judge in ("small", "large", "gate"):
        assert world.gauge("human_judge_alignment_ratio", judge) == pytest.approx(0.5)
        assert world.gauge("human_judge_alignment_labels", judge) == 30


def test_what_is_unknown_is_not_zero(world: World) -> None:
    """An empty store gives NaN ratios and zero counts, and halts nothing."""
    assert world.stage().step() == 0
    assert math.isnan(world.gauge("human_judge_alignment_ratio", "small"))
    assert math.isnan(world.gauge("reward_score_window_stddev", "small"))
    assert math.isnan(world.gauge("judge_flip_ratio", "large"))
    assert world.gauge("human_judge_alignment_labels", "small") == 0
    assert world.gauge("preferences_stored") == 0


def test_only_audit_prompts_count(world: World) -> None:
    """A label on any other split says nothing of the judge."""
    world.label(0, 30, split=Split.TRAIN)
    assert world.stage().step() == 0
    assert world.gauge("human_judge_alignment_labels", "small") == 0


def test_a_new_judge_version_starts_from_nothing(world: World) -> None:
    """Labels on pairs that only the old version judged do not speak for the new one, nor the other way."""
    world.label(30, 0, version="v1")
    world.label(4, 1, version="v2")
    for version, labels in (("v2", 5), ("v1", 30), ("v3", 0)):
        world.stage(version=version).step()
        for judge in ("small", "large"):
            assert world.gauge("human_judge_alignment_labels", judge) == labels


def test_the_order_in_which_a_judge_was_asked_does_not_matter(world: World) -> None:
    """A comparison stored the other way round is turned into the label's order."""
    trace_id = add_trace(world.store, "one", Split.AUDIT)
    a, b = (add_candidate(world.store, trace_id, text, sample=i) for i, text in enumerate(("good", "bad")))
    pair = {"role": "large", "kind": "pair", "purpose": "audit"}
    add_verdict(world.store, trace_id, b, **pair, other_id=a, choice="b")
    add_label(world.store, trace_id, a, b, "a")
    world.stage().step()
    assert world.gauge("human_judge_alignment_ratio", "large") == 1


def test_several_reviewers_are_adjudicated(world: World) -> None:
    """Two against one decide; one pair is one label."""
    trace_id = add_trace(world.store, "one", Split.AUDIT)
    a, b = (add_candidate(world.store, trace_id, text, sample=i) for i, text in enumerate(("good", "bad")))
    pair = {"role": "large", "kind": "pair", "purpose": "audit"}
    add_verdict(world.store, trace_id, a, **pair, other_id=b, choice="a")
    for reviewer, choice in (("ann", "b"), ("bob", "a"), ("cy", "a")):
        add_label(world.store, trace_id, a, b, choice, reviewer=reviewer)
    world.stage().step()
    assert world.gauge("human_judge_alignment_ratio", "large") == 1
    assert world.gauge("human_judge_alignment_labels", "large") == 1


def test_low_alignment_halts_once(world: World) -> None:
    """Training for the judges of training data, promotion for the gate's; a second look adds nothing."""
    world.label(20, 10)
    assert world.stage().step() == 3
    assert world.stage().step() == 0
    world.label(0, 5)
    assert world.stage().step() == 0
    halts = {(row.scope, row.fingerprint, row.source) for row in rows(world.store, HaltRow)}
    assert halts == {
        ("training", "guard:alignment-small", "guard"),
        ("training", "guard:alignment-large", "guard"),
        ("promotion", "guard:alignment-gate", "guard"),
    }
    assert "66.7% of 30 pairs" in rows(world.store, HaltRow)[0].reason
    assert world.gauge("halt_active", scope="training") == 1


def test_a_resume_holds_until_new_labels_say_otherwise(world: World) -> None:
    """The labels that caused the halt do not cause it again; enough new ones do. The gauge shows them all."""
    stage = world.stage(frozenset({Role.SMALL}))
    world.label(10, 20)
    assert stage.step() == 1
    world.resume()
    assert stage.step() == 0
    world.label(0, 19)
    assert stage.step() == 0
    assert world.gauge("human_judge_alignment_labels", "small") == 49
    world.label(0, 1)
    assert stage.step() == 1
    assert count(world.store, HaltRow) == 2


def test_good_labels_after_a_resume_halt_nothing(world: World) -> None:
    """Even while the whole window is still below the limit."""
    stage = world.stage(frozenset({Role.SMALL}))
    world.label(10, 20)
    stage.step()
    world.resume()
    world.label(25, 0)
    assert stage.step() == 0
    assert world.gauge("human_judge_alignment_ratio", "small") < 0.8


def test_collapsed_rewards_halt_training(world: World) -> None:
    """A full window of like rewards; gate scores and other judges' do not fill it."""
    stage = world.stage()
    world.score(*[5.0] * 19)
    world.score(*[5.0] * 10, purpose="gate")
    assert stage.step() == 0
    world.score(5.1)
    assert stage.step() == 1
    assert world.gauge("reward_score_window_stddev", "small") == pytest.approx(0.0224, abs=1e-3)
    assert world.gauge("reward_score_stddev_limit") == 0.1
    assert rows(world.store, HaltRow)[0].fingerprint == "guard:reward-spread-small"


def test_the_window_of_rewards_starts_over_after_a_resume(world: World) -> None:
    """Twenty new rewards are needed to halt again, and lively ones do not."""
    stage = world.stage()
    world.score(*[5.0] * 20)
    assert stage.step() == 1
    world.resume()
    world.score(*[5.0] * 19)
    assert stage.step() == 0
    world.score(9.0)
    assert stage.step() == 0
    world.score(*[5.0] * 20)
    assert stage.step() == 1


def test_flips_and_the_queue_are_shown(world: World) -> None:
    """Of comparisons that came to anything; abstentions are neither flips nor agreements."""
    trace_id = add_trace(world.store, "one", Split.AUDIT)
    ids = [add_candidate(world.store, trace_id, f"text {i}", sample=i) for i in range(5)]
    pair = {"role": "large", "kind": "pair", "purpose": "audit"}
    add_verdict(world.store, trace_id, ids[0], **pair, other_id=ids[1], choice="a")
    add_verdict(world.store, trace_id, ids[0], **pair, other_id=ids[2], flipped=True)
    add_verdict(world.store, trace_id, ids[0], **pair, other_id=ids[3], choice="tie")
    add_verdict(world.store, trace_id, ids[0], **pair, other_id=ids[4], abstention="timeout")
    world.stage().step()
    assert world.gauge("judge_flip_ratio", "large") == pytest.approx(1 / 3)
    assert world.gauge("judgements_open", "large") == 0


def test_a_restart_shows_the_last_evaluation_again(world: World) -> None:
    """Its figures come from the store; one that was not measured does not hide them."""
    add_adapter(world.store, "test-aaa")
    measured = {
        "entropy_candidate_nats": 0.6,
        "entropy_stable_nats": 0.5,
        "kl_token_nats": "nan",
        "win_rate": 0.7,
        "win_rate_lower": 0.6,
    }
    for evidence in (measured, {}):
        put(
            world.store,
            EvaluationRow,
            adapter="test-aaa",
            state="decided",
            epoch=0,
            evidence=evidence,
            decision="hold",
            reasons=[],
            created_at=0.0,
        )
    world.stage().step()
    assert world.gauge("policy_entropy_nats", slot="challenger") == 0.6
    assert world.gauge("policy_entropy_nats", slot="stable") == 0.5
    assert math.isnan(world.gauge("policy_kl_nats"))
    assert world.gauge("gate_win_rate_ratio") == 0.7
    assert world.gauge("gate_win_rate_lower_bound_ratio") == 0.6


def test_todays_cost_starts_again_at_midnight(world: World) -> None:
    """Without a call on the new day the gauge does not keep the sum of the day before."""
    stage = world.stage()
    world.budget.settle(world.budget.reserve(SMALL, 0.5, limit=None), 0.25)
    stage.step()
    assert world.gauge("judge_cost_today_usd", "small") == 0.25

    world.clock.advance(86_400)
    stage.step()

    assert world.gauge("judge_cost_today_usd", "small") == 0.0


def test_the_ledgers_head_is_logged_every_hour(world: World) -> None:
    """What is kept outside the database shows whether its end was cut; the gauge counts the entries."""
    stage = world.stage()
    with capture_logs() as logged:
        stage.step()
        world.latch.halt(Scope.TRAINING, reason="a test", source=HaltSource.OPERATOR, actor="ann")
        stage.step()
        world.clock.advance(3601)
        stage.step()

    head = world.store.read(ledger.head)
    heads = [each for each in logged if each["event"] == "ledger_head_noted"]
    assert [each["entries"] for each in heads] == [0, 1]
    assert heads[-1]["hash"] == head.hash
    assert world.gauge("ledger_entries") == 1
