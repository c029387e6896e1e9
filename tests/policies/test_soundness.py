"""Rules under which nothing could ever be promoted, or no halt be made, are found before anything is paid."""

from typing import Any

import pytest

from policies.gate.decision import Comparison, rate_of
from policies.policy import GateRule, PolicySpec
from policies.soundness import contradictions

DOCUMENT = PolicySpec(name="p", family="f", base_model="b").model_dump()


def policy(**sections: dict[str, Any]) -> PolicySpec:
    return PolicySpec.model_validate(
        DOCUMENT | {name: DOCUMENT[name] | keys for name, keys in sections.items()}
    )


def test_the_shipped_rules_agree() -> None:
    """None contradicts another."""
    assert contradictions(policy()) == ()


@pytest.mark.parametrize(
    ("sections", "keys"),
    [
        ({"splits": {"train": 0.9, "gate": 0.0}}, ["splits.gate"]),
        ({"splits": {"train": 0.75, "audit": 0.0}}, ["splits.audit"]),
        ({"splits": {"train": 0.0, "gate": 0.9}}, ["splits.train"]),
        ({"gate": {"min_prompts": 500}}, ["gate.min_prompts", "gate.max_prompts"]),
        ({"gate": {"min_win_rate": 1.0}}, ["gate.min_win_rate", "gate.max_prompts", "gate.confidence"]),
        ({"gate": {"confidence": 0.9999999999999999, "max_prompts": 60}}, ["gate.min_win_rate"]),
        ({"gate": {"min_entropy_ratio": 0.9, "max_entropy_ratio": 0.1}}, ["gate.min_entropy_ratio"]),
        ({"gate": {"max_entropy_ratio": 0.99}}, ["gate.max_entropy_ratio"]),
        ({"gate": {"min_alignment": 1.0}}, ["gate.min_alignment", "halts.alignment_window"]),
        ({"halts": {"min_alignment": 0.99}}, ["halts.min_alignment"]),
        ({"gate": {"min_labels": 201}}, ["gate.min_labels", "halts.alignment_window"]),
        ({"halts": {"alignment_min_labels": 201}}, ["halts.alignment_min_labels"]),
        ({"judging": {"ceiling": 1.5}}, ["curation.min_margin", "judging.ceiling"]),
        ({"guards": {"kl_nats": {"limit": 1e-6}}}, ["guards.kl_nats.limit"]),
    ],
)  # fmt: skip
def test_a_contradiction_names_its_keys(sections: dict[str, Any], keys: list[str]) -> None:
    """All that take part in it, so that a person can choose which to change."""
    lines = contradictions(policy(**sections))
    assert lines
    assert all(f"policy.{key}" in lines[0] for key in keys), lines


@pytest.mark.parametrize(
    "rule", [GateRule(max_prompts=40, min_win_rate=share) for share in (0.9, 0.93, 0.94, 0.95)]
)
def test_what_is_refused_is_what_the_gate_never_passes(rule: GateRule) -> None:
    """The best that can happen, a win on every prompt, through the gate's own figures."""
    best = rate_of([Comparison(str(number), "win") for number in range(rule.max_prompts)], rule)
    assert best is not None
    never = best.lower <= rule.min_win_rate
    assert never == any("min_win_rate" in line for line in contradictions(policy(gate=rule.model_dump())))
