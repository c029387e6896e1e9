"""Rules that contradict each other: with them no adapter could ever be promoted, or a halt never be made."""

from collections.abc import Iterator

from policies.policy import GateRule, HaltRules, PolicySpec, TrainingGuards
from policies.statistics.intervals import bounds

LEAST_NATS = 0.01
CONFIDENCE = 0.95
"""Of the bounds of alignment (`policies.alignment`)."""


def contradictions(policy: PolicySpec) -> tuple[str, ...]:
    """One line for each, beginning with its key: what cannot be, and which values say so."""
    gate, halts = policy.gate, policy.halts
    rules = (_splits(policy), _gate(gate), _alignment(gate, halts), _guards(policy.guards), _margin(policy))
    return tuple(line for rule in rules for line in rule)


def _splits(policy: PolicySpec) -> Iterator[str]:
    for name, lacking in (
        ("train", "nothing is trained on"),
        ("audit", "people have nothing to label, and the gate asks for their labels"),
        ("gate", "there is no prompt on which an adapter could be compared"),
    ):
        if not getattr(policy.splits, name):
            yield f"policy.splits.{name} is 0: {lacking}"


def _gate(rule: GateRule) -> Iterator[str]:
    if rule.min_prompts > rule.max_prompts:
        yield (
            f"policy.gate.min_prompts ({rule.min_prompts}) is above policy.gate.max_prompts "
            f"({rule.max_prompts}): so many are never compared"
        )
    best, _ = bounds(1.0, rule.max_prompts, confidence=rule.confidence)
    if best <= rule.min_win_rate:
        yield (
            f"policy.gate.min_win_rate ({rule.min_win_rate:g}) cannot be passed: {rule.max_prompts} wins of "
            f"policy.gate.max_prompts have a lower bound of {best:.4g} at policy.gate.confidence "
            f"{rule.confidence:.17g}"
        )
    if not rule.min_entropy_ratio <= 1 <= rule.max_entropy_ratio:
        yield (
            f"policy.gate.min_entropy_ratio ({rule.min_entropy_ratio:g}) and policy.gate.max_entropy_ratio "
            f"({rule.max_entropy_ratio:g}) leave out 1, the ratio of an adapter that is as diverse as before"
        )


def _alignment(gate: GateRule, halts: HaltRules) -> Iterator[str]:
    window = halts.alignment_window
    for key, labels in (
        ("gate.min_labels", gate.min_labels),
        ("halts.alignment_min_labels", halts.alignment_min_labels),
    ):
        if labels > window:
            yield (
                f"policy.{key} ({labels}) is above policy.halts.alignment_window ({window}): so many labels "
                "are never counted"
            )
    best, _ = bounds(1.0, window, confidence=CONFIDENCE)
    for key, least in (("gate", gate.min_alignment), ("halts", halts.min_alignment)):
        if best <= least:
            yield (
                f"policy.{key}.min_alignment ({least:g}) cannot be passed: agreement on all of "
                f"policy.halts.alignment_window ({window}) labels has a lower bound of {best:.4g}"
            )


def _guards(guards: TrainingGuards) -> Iterator[str]:
    for name in ("kl_nats", "chosen_logp_drop_nats"):
        guard = getattr(guards, name)
        if guard.limit < LEAST_NATS and guard.mode == "enforce":
            yield f"policy.guards.{name}.limit ({guard.limit:g}) would stop every run that learns anything"


def _margin(policy: PolicySpec) -> Iterator[str]:
    ceiling, margin = policy.judging.ceiling, policy.curation.min_margin
    if margin > ceiling:
        yield (
            f"policy.curation.min_margin ({margin:g}) is above policy.judging.ceiling ({ceiling:g}): no two "
            "rewards are so far apart"
        )
