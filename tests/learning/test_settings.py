"""The configuration is the daemon's defaults but for what is printed."""

from pathlib import Path

import pytest

from daemon.config.settings import TrainingConfig, load
from policies.policy import CurationRule, GateRule, HaltRules, JudgingRule, TrainingGuards
from policies.recipes import DpoRecipe, PpoRecipe, Recipe, RewardRecipe, SftRecipe
from policies.records import Role
from policies.release import ReleaseRule
from tests.learning import settings
from tests.learning.settings import SIZES, Method, Sizes

JUDGES = dict.fromkeys(Role, "http://127.0.0.1:9/v1")


DEFAULTS: dict[Method, tuple[Recipe, ...]] = {
    "dpo": (DpoRecipe(),),
    "sft": (SftRecipe(),),
    "ppo": (RewardRecipe(), PpoRecipe()),
}


@pytest.mark.parametrize("method", SIZES)
def test_recipe_guards_halts_and_gate_are_the_defaults(method: Method, tmp_path: Path) -> None:
    """What the daemon reads from the file is what a user gets who writes the method at most."""
    base = tmp_path / "base"
    base.mkdir()
    sizes = SIZES[method]
    settings.write(
        tmp_path / "rlaifd.yaml",
        settings.document(base=base, judges=JUDGES, seed=4, sizes=sizes, method=method),
    )
    found = load(tmp_path / "rlaifd.yaml")
    policy = found.policy
    assert policy.recipes == DEFAULTS[method]
    assert policy.guards == TrainingGuards()
    assert policy.halts == HaltRules()
    assert policy.gate == GateRule()
    assert policy.release == ReleaseRule()
    assert policy.curation == CurationRule()
    assert policy.judging == JudgingRule(review_pairs=sizes.review_pairs)
    assert policy.sampling.candidates == 3
    assert policy.sampling.max_new_tokens == sizes.max_new_tokens
    assert found.training == TrainingConfig(threads=sizes.threads)


@pytest.mark.parametrize("method", SIZES)
def test_the_gate_and_the_reviewer_have_prompts_enough(method: Method) -> None:
    """For the defaults, with a quarter in hand; and the splits are all there is."""
    sizes = SIZES[method]
    assert sizes.train + sizes.audit + sizes.gate == pytest.approx(1)
    assert sizes.gate * sizes.logs > 1.25 * GateRule().min_prompts
    assert sizes.audit * sizes.logs * sizes.review_pairs * 2 / 3 > 1.25 * GateRule().min_labels
    assert sizes.train * sizes.logs > 1.25 * TrainingConfig().min_preferences


def test_what_is_no_default_is_said() -> None:
    """Splits, answer length, labels and temperature, each in the lines that are printed."""
    said = "\n".join(Sizes().said())
    for part in (
        "270 logged",
        "200 held-out",
        "48 tokens",
        "46% train, 20% audit, 34% gate",
        "needs 50",
        "4 pairs of an audit prompt",
        "1 thread",
        "0.7",
    ):
        assert part in said
