"""The configuration is the daemon's defaults but for what is printed."""

from pathlib import Path

from daemon.config.settings import load
from policies.policy import CurationRule, GateRule, HaltRules, TrainingGuards
from policies.recipes import DpoRecipe
from policies.records import Role
from tests.learning import settings
from tests.learning.settings import Sizes

JUDGES = dict.fromkeys(Role, "http://127.0.0.1:9/v1")


def test_recipe_guards_halts_and_gate_are_the_defaults(tmp_path: Path) -> None:
    """What the daemon reads from the file is what a user gets who writes none of it."""
    base = tmp_path / "base"
    base.mkdir()
    settings.write(
        tmp_path / "rlaifd.yaml", settings.document(base=base, judges=JUDGES, seed=4, sizes=Sizes())
    )
    policy = load(tmp_path / "rlaifd.yaml").policy
    assert policy.recipe == DpoRecipe()
    assert policy.guards == TrainingGuards()
    assert policy.halts == HaltRules()
    assert policy.gate == GateRule()
    assert policy.curation == CurationRule()
    assert policy.sampling.candidates == 3
    assert policy.sampling.max_new_tokens == Sizes().max_new_tokens


def test_what_is_no_default_is_said() -> None:
    """Splits, answer length, labels and temperature, each in the lines that are printed."""
    said = "\n".join(Sizes().said())
    for part in (
        "270 logged",
        "200 held-out",
        "48 tokens",
        "46% train, 20% audit, 34% gate",
        "needs 50",
        "0.7",
    ):
        assert part in said
