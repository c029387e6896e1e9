"""Where a training's rewards come from: the newest reward model that labels have released."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from daemon.errors import UsageError
from daemon.store import rewardmodels as rows
from daemon.store import runs
from daemon.store.store import Store
from policies.recipes import PpoRecipe, Recipe

if TYPE_CHECKING:
    from daemon.adapters.basedigest import BaseOnDisk
    from policies.training.jobs import RewardFiles


def chosen(recipe: Recipe, *, store: Store, rewards: Path, base: "BaseOnDisk") -> "RewardFiles | None":
    """The newest released reward model, verified; None where the recipe asks for none.

    Raises UsageError where there is none to be had and where rewards would have no ceiling, and
    AdapterRefusedError where its files or its base model are not what they were.
    """
    if not isinstance(recipe, PpoRecipe):
        return None
    if recipe.ceiling == "none":
        raise UsageError(
            "policy.recipe.ceiling is none: a policy trained so finds what its reward model gets wrong, and "
            "is not published; set it to auto or to a number of points"
        )
    if recipe.verdict_weight == 1:
        return None
    found = store.read(rows.released)
    if found is None:
        raise UsageError(
            "method ppo needs a released reward model, and there is none: run `rlaifd train --method "
            "reward` and label audit pairs until `rlaifd rewards` says release, or set "
            "policy.recipe.verdict_weight to 1 to learn from stored verdicts alone"
        )
    from daemon.adapters import rewardmodels  # who only asks what waits need not load them
    from policies.training.jobs import RewardFiles

    path = rewards / found.name
    made = rewardmodels.verify(path, found.name, digest=found.digest)
    base.check(found.name, made.base, fix="train a reward model on this base first")
    return RewardFiles(path=path, digest=found.digest)


def lacking(connection: Connection, recipe: Recipe) -> bool:
    """Whether the recipe asks for a released reward model and there is none."""
    return rows.asks(recipe) and rows.released(connection) is None


def renewed(connection: Connection, recipe: Recipe) -> float | None:
    """When the reward model that the recipe learns from was released, in seconds since the epoch; None where
    it asks for none, or there is none.
    """
    found = rows.released(connection) if rows.asks(recipe) else None
    return None if found is None else found.decided_at


def unused(connection: Connection, recipe: Recipe) -> bool:
    """Whether a reward model was released that the recipe asks for, and no run of its method began since."""
    at = renewed(connection, recipe)
    return at is not None and at > (runs.last_start(connection, methods=(recipe.method,)) or 0.0)


def left(connection: Connection, *, snapshot: str, recipes: Sequence[Recipe]) -> tuple[Recipe, ...]:
    """Those that have not learned from the snapshot yet; all of them where each has."""
    found = tuple(each for each in recipes if not has_learned(connection, snapshot, each))
    return found or tuple(recipes)


def has_learned(connection: Connection, snapshot: str, recipe: Recipe) -> bool:
    """Whether a run by the recipe's method saw the snapshot to the end. For PPO only
    what came after the newest release counts.
    """
    last = runs.learned(connection, snapshot, recipe.method)
    return last is not None and last >= (renewed(connection, recipe) or 0.0)
