"""What of a policy lets more through than the values that were vetted.

Some of it may be meant; all of it is said by `rlaifd check`. What is stricter endangers nobody and is not.
"""

from collections.abc import Mapping
from typing import Any, Literal

from policies.policy import PolicySpec, TrainingGuards
from policies.recipes import Recipe

Side = Literal["above", "below"]

LAXER: Mapping[str, tuple[Side, str]] = {
    "gate.min_prompts": ("below", "fewer prompts decide whether an adapter is promoted"),
    "gate.min_win_rate": ("below", "an adapter that loses more often than it wins may be promoted"),
    "gate.confidence": ("below", "chance promotes more often"),
    "gate.max_kl_nats": ("above", "an adapter may be further from what is served"),
    "gate.min_entropy_ratio": ("below", "an adapter whose answers are more alike may be promoted"),
    "gate.max_entropy_ratio": ("above", "an adapter whose answers are more random may be promoted"),
    "gate.max_cut_excess": ("above", "an adapter whose answers are cut off more often may be promoted"),
    "gate.min_alignment": ("below", "judges with whom people agree less may decide"),
    "gate.min_labels": ("below", "fewer labels decide whether a judge is trusted"),
    "guards.kl_nats.limit": ("above", "a training goes on further from where it began"),
    "guards.entropy_low_ratio.limit": ("below", "a training goes on though its answers become alike"),
    "guards.entropy_high_ratio.limit": ("above", "a training goes on though its answers become random"),
    "guards.chosen_logp_drop_nats.limit": (
        "above",
        "a training goes on though chosen answers become unlikely",
    ),
    "guards.divergence.limit": ("above", "a training goes on though the judge finds its answers worse"),
    "halts.min_alignment": ("below", "a judge with whom people agree less goes on"),
    "halts.alignment_min_labels": ("above", "a judge with whom people disagree is halted later"),
    "halts.alignment_window": ("above", "a judge that became worse is halted later"),
    "halts.min_reward_sd": ("below", "a judge that tells answers less apart goes on"),
    "halts.reward_window": ("above", "a judge that no longer tells answers apart is halted later"),
    "judging.audit_rate": ("below", "fewer scores are audited"),
    "curation.min_margin": ("below", "smaller differences, which are noise more often, become preferences"),
    "curation.min_difference": ("below", "answers that are nearly alike become preferences"),
    "curation.max_source_share": ("above", "one subject may contribute more of what is trained on"),
    "curation.max_source_pairs": ("above", "one subject may contribute more of what is trained on"),
    "curation.max_source_fair": ("above", "one subject may contribute more of what is trained on"),
    "curation.max_alike": ("above", "more of what is trained on may read alike"),
    "release.confidence": ("below", "chance releases a reward model more often"),
    "release.max_loss": ("above", "a reward model that lost more of what its judge knew may be released"),
    "release.min_labels": ("below", "fewer labels decide whether a reward model is released"),
    "recipe.sft_weight": ("below", "a policy can get worse while its margins grow"),
    "recipe.centring": ("below", "the level of a reward model's scores may drift"),
    "recipe.pessimism": ("below", "rewards on which a reward model's folds disagree count for more"),
    "recipe.verdict_weight": ("below", "the reward model, which can be gamed, counts for more than judges"),
    "recipe.truncation_penalty": ("below", "an answer that is cut off loses less by it"),
    "recipe.ceiling_quantile": ("above", "rewards count that hardly any answer seen before has"),
    "recipe.kl_target": ("above", "the policy is steered further from where it began"),
    "recipe.min_reward": ("below", "worse answers are imitated"),
    "recipe.good_from": ("below", "worse answers are taken for good ones"),
    "recipe.bad_to": ("above", "better answers are taken for bad ones"),
}
"""By key below `policy`: on which side of the shipped value a value is laxer, and what that lets through."""

RECIPE = "recipe."
SPARSE_STEPS = 50
FEW_SAMPLES = 8
SOUNDED = TrainingGuards().divergence_prompts


def weaker(policy: PolicySpec) -> tuple[str, ...]:
    """A line for each value that lets more through than the shipped one, by its key."""
    lines = [line for key in LAXER if (line := _compared(policy, key))]
    for number, recipe in enumerate(policy.also):
        keys = (key for key in LAXER if key.startswith(RECIPE))
        lines += [line for key in keys if (line := _asked(recipe, key, f"policy.also.{number}."))]
    for name, guard in policy.guards:
        if getattr(guard, "mode", "enforce") == "dry_run":
            lines.append(f"policy.guards.{name}.mode is dry_run: passing the limit stops no training")
    every, samples = policy.guards.every_steps, policy.guards.samples
    if every != "auto" and every > SPARSE_STEPS:
        lines.append(
            f"policy.guards.every_steps is {every}: the guards may look too late, or never in a short "
            "training; auto looks four times a run at least"
        )
    if samples != "auto" and samples < FEW_SAMPLES:
        lines.append(f"policy.guards.samples is {samples}: so few answers say little; auto takes 8 at least")
    if policy.guards.divergence_prompts < SOUNDED:
        lines.append(
            f"policy.guards.divergence_prompts is {policy.guards.divergence_prompts}, below the shipped "
            f"{SOUNDED}: a reward that misleads is seen later, or not before the gate"
        )
    return tuple(lines)


def _compared(policy: PolicySpec, key: str) -> str | None:
    if key.startswith(RECIPE):
        return _asked(policy.recipe, key, f"policy.{RECIPE}")
    section, *names = key.split(".")
    default = PolicySpec.model_fields[section].get_default(call_default_factory=True)
    return _lax(_value(getattr(policy, section), names), _value(default, names), key, f"policy.{key}")


def _asked(recipe: Recipe, key: str, place: str) -> str | None:
    """Each method has its own shipped values; one that has no such key says nothing."""
    name = key.removeprefix(RECIPE)
    return _lax(_value(recipe, [name]), _value(type(recipe)(), [name]), key, f"{place}{name}")


def _lax(written: Any, shipped: Any, key: str, place: str) -> str | None:
    side, what = LAXER[key]
    if written is None or shipped is None:
        return None
    if written <= shipped if side == "above" else written >= shipped:
        return None
    return f"{place} is {written:g}, {side} the shipped {shipped:g}: {what}"


def _value(section: Any, names: list[str]) -> Any:
    for name in names:
        section = getattr(section, name, None)
    return section
