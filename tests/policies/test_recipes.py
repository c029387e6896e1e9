"""The recipes of PPO and of reward models."""

import pytest
from pydantic import ValidationError

from policies.recipes import Lora, PpoRecipe, RewardRecipe


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
