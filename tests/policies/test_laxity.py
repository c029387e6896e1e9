"""What lets more through than the shipped values is said by its key, and what is stricter is not."""

from typing import Any

import pytest

from policies.laxity import LAXER, weaker
from policies.policy import PolicySpec, TrainingGuards
from policies.recipes import DpoRecipe, KtoRecipe, PpoRecipe, RewardRecipe, SftRecipe

SHIPPED = PolicySpec(name="p", family="f", base_model="b")
RECIPES = (DpoRecipe(), RewardRecipe(), PpoRecipe(), SftRecipe(), KtoRecipe())


def with_key(key: str) -> PolicySpec:
    """What is shipped; of a recipe's key, with the first method that has it."""
    section, *_, leaf = key.split(".")
    if section != "recipe":
        return SHIPPED
    return SHIPPED.model_copy(update={"recipe": next(each for each in RECIPES if hasattr(each, leaf))})


def with_value(key: str, value: Any) -> PolicySpec:
    document = with_key(key).model_dump()
    *sections, leaf = key.split(".")
    inner = document
    for section in sections:
        inner = inner[section]
    inner[leaf] = value
    return PolicySpec.model_validate(document)


def shipped(key: str) -> Any:
    value: Any = with_key(key)
    for name in key.split("."):
        value = getattr(value, name)
    return value


def test_what_is_shipped_is_weaker_in_nothing() -> None:
    """Else the notes would be read by nobody."""
    for recipe in RECIPES:
        assert weaker(SHIPPED.model_copy(update={"recipe": recipe})) == ()


@pytest.mark.parametrize("key", LAXER)
def test_a_value_on_the_laxer_side_is_told_by_its_key(key: str) -> None:
    """With both values; on the other side nothing is said."""
    side, what = LAXER[key]
    usual = shipped(key)
    step = 1 if float(usual).is_integer() and usual > 1 else 0.04 * (usual or 1)
    laxer, stricter = (usual + step, usual - step) if side == "above" else (usual - step, usual + step)
    (line,) = weaker(with_value(key, type(usual)(laxer)))
    assert line.startswith(f"policy.{key} is ")
    assert line.endswith(what)
    assert f"the shipped {usual:g}" in line
    assert weaker(with_value(key, type(usual)(max(stricter, 0)))) == ()


@pytest.mark.parametrize(
    "name", [name for name in TrainingGuards.model_fields if name.endswith(("ratio", "nats", "divergence"))]
)
def test_a_guard_that_only_watches_is_told(name: str) -> None:
    """A dry run stops nothing."""
    (line,) = weaker(with_value(f"guards.{name}.mode", "dry_run"))
    assert line == f"policy.guards.{name}.mode is dry_run: passing the limit stops no training"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("every_steps", 51),
        ("every_steps", 65_536),
        ("samples", 7),
        ("divergence_prompts", 15),
        ("divergence_prompts", 0),
    ],
)
def test_guards_that_hardly_look_are_told(key: str, value: int) -> None:
    """What is written there is taken as it is, however seldom that is."""
    (line,) = weaker(with_value(f"guards.{key}", value))
    assert line.startswith(f"policy.guards.{key} is {value}")


def test_everything_of_the_attack_is_told_at_once() -> None:
    """Each by its own line: one slip does not hide another."""
    document = SHIPPED.model_dump()
    document["gate"] |= {"min_win_rate": 0, "min_alignment": 0, "min_prompts": 1, "min_labels": 1}
    document["gate"] |= {"confidence": 0.500001, "max_kl_nats": 1e9, "max_entropy_ratio": 1e9}
    document["halts"] |= {"min_alignment": 0, "min_reward_sd": 0}
    told = [line.split(" is ")[0] for line in weaker(PolicySpec.model_validate(document))]
    assert told == [
        "policy.gate.min_prompts", "policy.gate.min_win_rate", "policy.gate.confidence",
        "policy.gate.max_kl_nats", "policy.gate.max_entropy_ratio", "policy.gate.min_alignment",
        "policy.gate.min_labels", "policy.halts.min_alignment", "policy.halts.min_reward_sd",
    ]  # fmt: skip
