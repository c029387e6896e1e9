"""Rewards of sampled answers: a reward model, verdicts that a judge has given already, or a mixture."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from policies.recipes import PpoRecipe
from policies.rewards import Reward, ceiling_of, finished, mixed
from policies.training.engines.reward_model import RewardModel
from policies.training.errors import JobError
from policies.training.sampling.generate import SampledAnswer

Verdicts = Callable[[Sequence[SampledAnswer]], Sequence[float | None]]
"""A judge's rewards of answers, in points; None for one that it has not judged."""


def stored(verdicts: Mapping[tuple[tuple[int, ...], tuple[int, ...]], float]) -> Verdicts:
    """Verdicts by the tokens of prompt and answer: they belong to exactly this answer to exactly this
    prompt.
    """

    def known(answers: Sequence[SampledAnswer]) -> list[float | None]:
        return [verdicts.get((answer.prompt, answer.tokens)) for answer in answers]

    return known


@dataclass(frozen=True, slots=True)
class Rewarder:
    """Where rewards come from. `ceiling` is the recipe's, resolved; None: there is none."""

    recipe: PpoRecipe
    ceiling: float | None
    model: RewardModel | None = None
    verdicts: Verdicts | None = None

    def rewards(self, answers: Sequence[SampledAnswer]) -> list[Reward | None]:
        """What training sees of each answer before its penalty on KL; None where nobody has a view of it."""
        return [
            None
            if mix is None
            else finished(
                mix,
                ceiling=self.ceiling,
                truncated=answer.truncated,
                truncation_penalty=self.recipe.truncation_penalty,
            )
            for answer, mix in zip(
                answers, mixtures(self.recipe, self.model, self.verdicts, answers), strict=True
            )
        ]


def mixtures(
    recipe: PpoRecipe, model: RewardModel | None, verdicts: Verdicts | None, answers: Sequence[SampledAnswer]
) -> list[float | None]:
    """The answers' rewards before ceiling and penalties. Raises JobError where there is no source at all."""
    if model is None and verdicts is None:
        raise JobError("PPO needs a reward model or stored verdicts: there is neither")
    modelled: Sequence[float | None] = [None] * len(answers)
    judged: Sequence[float | None] = [None] * len(answers)
    if model is not None:
        modelled = model.rewards([(each.prompt, each.tokens) for each in answers], recipe.pessimism)
    if verdicts is not None:
        judged = verdicts(answers)
    weight = recipe.verdict_weight if model is not None else 1.0
    return [
        mixed([(weight, theirs), (1 - weight, ours)]) for theirs, ours in zip(judged, modelled, strict=True)
    ]


def resolved_ceiling(recipe: PpoRecipe, seen: Callable[[], Sequence[float | None]]) -> float | None:
    """The recipe's ceiling as a number; None: it says that there is none.

    `seen` gives the rewards of answers that were judged before the run, such as both sides of its pairs, and
    is asked only where the ceiling is `auto`. Raises JobError where there are none.
    """
    if recipe.ceiling == "none":
        return None
    if recipe.ceiling != "auto":
        return recipe.ceiling
    try:
        return ceiling_of([each for each in seen() if each is not None], recipe.ceiling_quantile)
    except ValueError:
        raise JobError(
            "recipe.ceiling is auto and no answer seen before has a reward to take it from: write a number"
        ) from None
