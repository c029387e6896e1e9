"""Which engine serves which method."""

from typing import Any

from policies.recipes import Recipe
from policies.training.engines.dpo import Dpo
from policies.training.engines.engine import Engine
from policies.training.engines.kto import Kto
from policies.training.engines.ppo_engine import PpoEngine
from policies.training.engines.reward_engine import RewardEngine
from policies.training.engines.sft import Sft

ENGINES: dict[str, Engine[Any]] = {
    "dpo": Dpo(),
    "reward": RewardEngine(),
    "ppo": PpoEngine(),
    "sft": Sft(),
    "kto": Kto(),
}


def engine_of(recipe: Recipe) -> Engine[Any]:
    """The engine for the recipe's method. The union of recipes has no method without one."""
    return ENGINES[recipe.method]
