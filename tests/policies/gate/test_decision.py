"""The gate promotes on complete evidence alone and names everything that speaks against it."""

import math
import random
from dataclasses import replace

import pytest

from policies.alignment import Alignment, Labelled, alignment
from policies.gate.decision import RULES, AgentEvidence, Comparison, GateEvidence, Result, decide
from policies.policy import GateRule
from tests.judges import GATE, SMALL

LIMITS = GateRule()


def compared(win: int, tie: int, loss: int, undecided: int = 0) -> tuple[Comparison, ...]:
    counts: list[tuple[Result, int]] = [("win", win), ("tie", tie), ("loss", loss), ("undecided", undecided)]
    results = [result for result, count in counts for _ in range(count)]
    return tuple(Comparison(str(index), result) for index, result in enumerate(results))


def aligned(right: int, wrong: int) -> Alignment:
    rows = [
        Labelled(str(index), "a" if index < right else "b", ("a",), 1, 2) for index in range(right + wrong)
    ]
    return alignment(rows, limit=LIMITS.min_alignment, min_labels=LIMITS.min_labels)


GOOD = GateEvidence(
    comparisons=compared(74, 21, 5),
    gate_judge=True,
    kl_sequence=5.7,
    entropy_candidate=0.529,
    entropy_stable=0.521,
    halts=(),
    alignment={SMALL: aligned(180, 20), GATE: aligned(190, 10)},
    verified=True,
)


CUT: dict[str, object] = {"answered": 100, "cut_candidate": 30, "cut_stable": 10}
"""As much more often as is allowed."""


def test_cut_off_answers_are_named_where_they_do_not_hold() -> None:
    """As often as the limit allows, or less often than the stable policy's: a promotion says how often."""
    for change in (CUT, CUT | {"cut_candidate": 4, "cut_stable": 90}):
        decision = decide(replace(GOOD, **change), LIMITS)  # type: ignore[arg-type]
        assert decision.kind == "promote"
        assert f"cut off: {change['cut_candidate']} of the candidate's 100 answers" in decision.reasons[0]
        assert f"{change['cut_stable']} of the stable policy's" in decision.reasons[0]
    assert "cut off" not in decide(replace(GOOD, answered=100), LIMITS).reasons[0]


def test_the_limit_of_cut_off_answers_is_the_policys() -> None:
    """At 1 nothing is held for it."""
    cut = replace(GOOD, answered=100, cut_candidate=100, cut_stable=0)
    assert decide(cut, LIMITS).kind == "hold"
    assert decide(cut, GateRule(max_cut_excess=1.0)).kind == "promote"


def test_complete_good_evidence_promotes() -> None:
    """The reason has the win rate with its bounds, the counts and the KL."""
    decision = decide(GOOD, LIMITS)
    assert decision.kind == "promote"
    assert "0.845" in decision.reasons[0]
    assert "74 won, 21 tied, 5 lost" in decision.reasons[0]


def test_no_rule_is_no_promotion() -> None:
    """The default is hold."""
    assert decide(GOOD, LIMITS, rules=()).kind == "hold"


def test_no_evidence_holds_and_names_each_missing_thing() -> None:
    """Nothing known: every rule but the one on a moved stable adapter has something to say."""
    decision = decide(GateEvidence(), LIMITS)
    assert decision.kind == "hold"
    text = "\n".join(decision.reasons)
    for missing in ("adapter: not verified", "no gate judge", "0 of 0 gate prompts", "KL: not measured"):
        assert missing in text
    for missing in ("entropy: not measured", "of no judge", "halts could not be read"):
        assert missing in text


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        ({"verified": None}, "hold", "not verified"),
        ({"verified": False, "verification": "digest differs"}, "reject", "digest differs"),
        ({"quarantined": "rolled back"}, "reject", "quarantined: rolled back"),
        ({"halts": ("alignment low",)}, "hold", "alignment low"),
        ({"halts": None}, "hold", "could not be read"),
        ({"stable_moved": "is b, was a"}, "hold", "is b, was a"),
        ({"agent": AgentEvidence("v2", "v1", 40)}, "hold", "made with prompts of v1, and v2 has the most"),
        (
            {"agent": AgentEvidence("v2", "v2", 39, others=True)},
            "hold",
            "v2 has 39 gate prompts so far; 40 are",
        ),
        ({"gate_judge": False}, "hold", "no gate judge"),
        ({"kl_sequence": None}, "hold", "KL: not measured"),
        ({"kl_sequence": 10.1}, "reject", "above the ceiling of 10"),
        ({"kl_sequence": math.nan}, "reject", "not finite"),
        ({"entropy_candidate": None}, "hold", "entropy: not measured"),
        ({"entropy_stable": None}, "hold", "entropy: not measured"),
        ({"entropy_stable": 0.0}, "hold", "no band"),
        ({"entropy_candidate": 0.2}, "reject", "0.38 times"),
        ({"entropy_candidate": 1.8}, "reject", "3.45 times"),
        ({"entropy_candidate": math.inf}, "reject", "no entropy"),
        (
            CUT | {"cut_candidate": 35},
            "hold",
            "35 of the candidate's 100 answers ended at the limit of length",
        ),
        ({"alignment": {}}, "hold", "of no judge"),
        ({"alignment": {SMALL: None}}, "hold", "small judge: unknown"),
        ({"alignment": {SMALL: aligned(49, 0)}}, "hold", "49 labelled pairs; 50"),
        ({"alignment": {SMALL: aligned(169, 31)}}, "hold", "is not above 80.0%"),
        ({"comparisons": compared(30, 0, 9)}, "hold", "39 of 39 gate prompts were decided; 40"),
        ({"comparisons": compared(30, 0, 5, 60)}, "hold", "35 of 95 gate prompts"),
        ({"comparisons": compared(60, 0, 10, 300)}, "hold", "decided 70 of 370 gate prompts, fewer than 20%"),
        ({"comparisons": compared(30, 10, 60)}, "reject", "is below 0.5"),
        ({"comparisons": compared(52, 0, 48)}, "hold", "more decided pairs would decide"),
        ({"comparisons": compared(50, 0, 50)}, "hold", "too close"),
    ],
)
def test_each_flaw_alone_keeps_the_gate_shut(change: dict[str, object], kind: str, reason: str) -> None:
    """One thing wrong or missing in otherwise good evidence gives that decision with that reason alone."""
    decision = decide(replace(GOOD, **change), LIMITS)  # type: ignore[arg-type]
    assert (decision.kind, len(decision.reasons)) == (kind, 1)
    assert reason in decision.reasons[0]


@pytest.mark.parametrize(
    "agent",
    [
        None,
        AgentEvidence("v1", "v1", 40),
        AgentEvidence("v1", "v1", 3),
        AgentEvidence("v1", None, 40, others=True),
    ],
)
def test_one_version_of_the_agent_holds_nothing(agent: AgentEvidence | None) -> None:
    """Where there is no other, too few prompts are too few decided comparisons, which is told as such."""
    assert decide(replace(GOOD, agent=agent), LIMITS).kind == "promote"


def test_few_prompts_hold_even_when_all_are_lost() -> None:
    """Too little to reject on is too little."""
    decision = decide(replace(GOOD, comparisons=compared(0, 0, 20)), LIMITS)
    assert (decision.kind, len(decision.reasons)) == ("hold", 1)


def test_reject_outranks_hold_and_both_are_listed() -> None:
    """The rejecting reasons come first."""
    decision = decide(replace(GOOD, kl_sequence=140.0, halts=("a", "b")), LIMITS)
    assert decision.kind == "reject"
    assert [reason.split(":")[0] for reason in decision.reasons] == ["KL", "halt", "halt"]


def test_the_number_of_pairs_that_would_decide_is_right() -> None:
    """With that many more at the same rate the bound clears the limit."""
    decision = decide(replace(GOOD, comparisons=compared(55, 0, 45)), LIMITS)
    more = int(decision.reasons[0].split("about ")[1].split()[0])
    total = 100 + more
    wins = round(total * 0.55)
    assert (
        decide(replace(GOOD, comparisons=compared(wins + 1, 0, total - wins - 1)), LIMITS).kind == "promote"
    )


def test_an_adapter_trained_on_flipped_labels_is_rejected_by_its_win_rate() -> None:
    """Near the stable policy and lively enough, but it loses."""
    evidence = replace(GOOD, comparisons=compared(7, 23, 70), kl_sequence=6.0)
    decision = decide(evidence, LIMITS)
    assert decision.kind == "reject"
    assert [reason.split(":")[0] for reason in decision.reasons] == ["win rate"]


def test_dpo_without_an_anchor_is_rejected_by_its_kl() -> None:
    """Its win rate looks fine; KL of 140 nats and more than three times the entropy do not."""
    evidence = replace(GOOD, comparisons=compared(60, 24, 16), kl_sequence=140.0, entropy_candidate=1.8)
    decision = decide(evidence, LIMITS)
    assert decision.kind == "reject"
    assert [reason.split(":")[0] for reason in decision.reasons] == ["KL", "entropy"]


@pytest.mark.parametrize("ties", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("prompts", [40, 60, 200])
def test_null_candidates_are_rarely_promoted(ties: float, prompts: int) -> None:
    """Of 400 candidates that are the stable policy itself, at most 5 % and two standard errors pass."""
    source = random.Random(f"{ties}:{prompts}")
    promoted = 0
    for _ in range(400):
        decided = sum(source.random() < 0.8 for _ in range(prompts * 2))
        tied = sum(source.random() < ties for _ in range(decided))
        won = sum(source.random() < 0.5 for _ in range(decided - tied))
        evidence = replace(GOOD, comparisons=compared(won, tied, decided - tied - won, prompts * 2 - decided))
        promoted += decide(evidence, LIMITS).kind == "promote"
    assert promoted <= 400 * 0.05 + 2 * math.sqrt(400 * 0.05 * 0.95)


def test_rules_are_what_decides() -> None:
    """Without the KL rule the anchorless adapter would pass: each rule carries weight."""
    evidence = replace(GOOD, kl_sequence=140.0)
    without = [rule for rule in RULES if rule.__name__ != "near"]
    assert decide(evidence, LIMITS, rules=without).kind == "promote"
