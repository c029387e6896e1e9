"""The recipes of PPO and of reward models, and a policy that has several."""

from typing import Any

import pytest
from pydantic import ValidationError

from policies.policy import PolicySpec
from policies.recipes import RECIPES, DpoRecipe, Lora, PpoRecipe, RewardRecipe


def test_the_defaults_are_consistent() -> None:
    """Both recipes can be had without a word."""
    assert PpoRecipe().method == "ppo"
    assert RewardRecipe().method == "reward"


def test_dropout_is_refused() -> None:
    """With it the policy that learns is not the one that sampled, from the first step on."""
    with pytest.raises(ValidationError, match="dropout must be 0"):
        PpoRecipe(lora=Lora(dropout=0.1))


def test_a_run_that_only_warms_its_critic_is_refused() -> None:
    """It would publish the policy it began with."""
    with pytest.raises(ValidationError, match="3 of 3 steps: none is left"):
        PpoRecipe(steps=3, critic_warmup_steps=3)


@pytest.mark.parametrize("ceiling", ["auto", "none", 7.5, 10])
def test_a_ceiling_is_a_number_a_rule_or_said_to_be_none(ceiling: object) -> None:
    """Nothing else is one."""
    assert PpoRecipe.model_validate({"ceiling": ceiling}).ceiling == ceiling


@pytest.mark.parametrize("ceiling", ["off", 0, 11, None])
def test_what_is_no_ceiling_is_refused(ceiling: object) -> None:
    """A null or a typing error does not take the ceiling away."""
    with pytest.raises(ValidationError):
        PpoRecipe.model_validate({"ceiling": ceiling})


def spec(**policy: Any) -> PolicySpec:
    return PolicySpec.model_validate({"name": "x", "family": "y", "base_model": "z", **policy})


def test_a_recipe_without_a_method_is_dpos() -> None:
    """A method that there is not is refused with those that there are."""
    assert RECIPES.validate_python({"beta": 0.2}) == DpoRecipe(beta=0.2)
    assert isinstance(RECIPES.validate_python({"method": "reward", "folds": 3}), RewardRecipe)
    with pytest.raises(ValidationError, match="'dpo', 'reward', 'ppo'"):
        RECIPES.validate_python({"method": "rlhf"})


def test_a_policy_may_list_several_recipes() -> None:
    """In their order; each method once, and one at least."""
    found = spec(recipe=[{"method": "reward"}, {"beta": 0.2}, {"method": "ppo", "steps": 9}])
    assert [each.method for each in found.recipes] == ["reward", "dpo", "ppo"]
    assert found.recipe == RewardRecipe()
    assert PolicySpec.model_validate(found.model_dump()) == found
    assert [each.method for each in spec().recipes] == ["dpo"]
    with pytest.raises(ValidationError, match="method dpo is listed twice"):
        spec(recipe=[{}, {"beta": 0.2}])
    with pytest.raises(ValidationError, match="an empty list"):
        spec(recipe=[])


def test_a_method_that_is_not_listed_has_its_defaults_and_the_policys_adapter_shape() -> None:
    """Adapters of one shape can be gone on from whatever the method."""
    found = spec(recipe={"lora": {"r": 4}, "beta": 0.2})
    assert found.recipe_of("dpo") == found.recipe
    assert found.recipe_of("ppo") == PpoRecipe(lora=Lora(r=4))
    with pytest.raises(ValidationError):
        found.recipe_of("rlhf")


def test_a_prompt_needs_room_beside_its_answer() -> None:
    """An answer as long as all that fits leaves none."""
    with pytest.raises(ValidationError, match="no room is left for a prompt"):
        PpoRecipe(max_new_tokens=64, max_length=64)
