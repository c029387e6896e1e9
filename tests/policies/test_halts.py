"""Halt rules name the scope and the figures, and say nothing without evidence."""

import pytest

from policies.alignment import Labelled, alignment
from policies.halts import Evidence, HaltEvidence, Spread, evaluate, evidence_of, rules_for, steps_back
from policies.policy import HaltRules
from policies.records import Scope
from tests.judges import BENCH, GATE, SMALL

RULES = HaltRules()


def aligned(right: int, wrong: int) -> HaltEvidence:
    rows = [
        Labelled(str(index), "a" if index < right else "b", ("a",), 1, 2) for index in range(right + wrong)
    ]
    found = alignment(rows, limit=RULES.min_alignment, min_labels=RULES.alignment_min_labels)
    return HaltEvidence(alignment={SMALL: found})


def test_alignment_below_the_limit_halts_training() -> None:
    """The reason has the share, the number of pairs and the limit."""
    (halt,) = evaluate(rules_for(RULES, BENCH), aligned(39, 11))
    assert (halt.scope, halt.rule) == (Scope.TRAINING, "alignment-small")
    assert "78.0% of 50 pairs" in halt.reason
    assert "limit is 80.0%" in halt.reason


@pytest.mark.parametrize(("right", "wrong"), [(40, 10), (38, 11), (0, 0)])
def test_alignment_at_the_limit_or_with_few_labels_halts_nothing(right: int, wrong: int) -> None:
    """The rule needs a point estimate below the limit and 50 labels."""
    assert evaluate(rules_for(RULES, BENCH), aligned(right, wrong)) == ()


def test_a_misaligned_gate_judge_halts_promotion() -> None:
    """It made no training data; what it lets through is in doubt."""
    found = aligned(30, 30).alignment[SMALL]
    (halt,) = evaluate(rules_for(RULES, BENCH), HaltEvidence(alignment={GATE: found}))
    assert halt.scope is Scope.PROMOTION


def test_collapsed_rewards_halt_training() -> None:
    """With a full window only."""
    rules = rules_for(RULES, BENCH)
    (halt,) = evaluate(rules, HaltEvidence(rewards={SMALL: Spread(200, 0.05)}))
    assert (halt.scope, halt.rule) == (Scope.TRAINING, "reward-spread-small")
    assert "0.050" in halt.reason
    for spread in (Spread(199, 0.05), Spread(200, 0.1), Spread(0, None)):
        assert evaluate(rules, HaltEvidence(rewards={SMALL: spread})) == ()


def test_missing_evidence_halts_nothing() -> None:
    """The gate stays shut instead."""
    assert evaluate(rules_for(RULES, BENCH), HaltEvidence()) == ()


@pytest.mark.parametrize(
    ("halted_at", "in_force", "steps"),
    [([], 3, False), ([3], 3, True), ([3, 3, 3], 3, True), ([3, 4], 4, False), ([2], 3, False)],
)
def test_one_cause_steps_back_once(halted_at: list[int], in_force: int, steps: bool) -> None:
    """Only the epoch that was in force when the first of the active halts was latched is left."""
    assert steps_back(halted_at, in_force) is steps


@pytest.mark.parametrize(
    ("alert", "written", "rests_on"),
    [
        ("RlaifdJudgeAlignmentBreach", "", Evidence.LABELS),
        ("RlaifdJudgeAlignmentBreach", "verdicts", Evidence.VERDICTS),
        ("Mine", "spend", Evidence.SPEND),
        ("Mine", "moon", None),
        ("Mine", "", None),
    ],
)
def test_an_alert_rests_on_what_it_says(alert: str, written: str, rests_on: Evidence | None) -> None:
    """Its label, else its name; of one that says nothing each start is news."""
    assert evidence_of(alert, written) is rests_on
