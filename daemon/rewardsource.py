"""Where a training's rewards come from: the newest reward model that labels have released."""

from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import Connection

from daemon import rewardmodels
from daemon.basedigest import BaseOnDisk
from daemon.errors import UsageError
from daemon.store import rewardmodels as rows
from daemon.store import runs
from daemon.store.store import Store
from policies.policy import PolicySpec
from policies.recipes import PpoRecipe, Recipe
from policies.training.jobs import RewardFiles


def chosen(recipe: Recipe, *, store: Store, rewards: Path, base: BaseOnDisk) -> RewardFiles | None:
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
    path = rewards / found.name
    made = rewardmodels.verify(path, found.name, digest=found.digest)
    base.check(found.name, made.base, fix="train a reward model on this base first")
    return RewardFiles(path=path, digest=found.digest)


def unused(connection: Connection, *, recipes: Iterable[Recipe]) -> bool:
    """Whether a reward model was released that one of the recipes asks for, and no run began since."""
    wanted = any(isinstance(each, PpoRecipe) and each.verdict_weight < 1 for each in recipes)
    found = rows.released(connection) if wanted else None
    if found is None:
        return False
    return (found.decided_at or 0.0) > (runs.last_start(connection) or 0.0)


def left(connection: Connection, *, snapshot: str, policy: PolicySpec) -> tuple[Recipe, ...]:
    """The policy's recipes that have not learned from the snapshot yet; all of them where each has."""
    found = tuple(each for each in policy.recipes if not _has_learned(connection, snapshot, each))
    return found or policy.recipes


def _has_learned(connection: Connection, snapshot: str, recipe: Recipe) -> bool:
    """For PPO only what came after the newest release counts."""
    last = runs.learned(connection, snapshot, recipe.method)
    if last is None or not isinstance(recipe, PpoRecipe) or recipe.verdict_weight == 1:
        return last is not None
    found = rows.released(connection)
    return found is None or (found.decided_at or 0.0) <= last
