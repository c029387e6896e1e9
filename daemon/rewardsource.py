"""Where a training's rewards come from: the newest reward model that labels have released."""

from pathlib import Path

from daemon import rewardmodels
from daemon.basedigest import BaseOnDisk
from daemon.errors import UsageError
from daemon.store import rewardmodels as rows
from daemon.store.store import Store
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
