"""Where the rewards of sampled answers come from."""

from typing import Any

import pytest

from policies.recipes import PpoRecipe
from policies.rewards import Reward
from policies.training.errors import JobError

pytestmark = pytest.mark.training

RECIPE = PpoRecipe(verdict_weight=0.25, truncation_penalty=3, ceiling=8)


def answer(prompt: int, token: int, *, truncated: bool = False) -> Any:
    from policies.training.sampling.generate import SampledAnswer

    return SampledAnswer((prompt,), (token,), truncated)


class Model:
    """A reward model by rule: the answer's first token, and `pessimism` off it."""

    def rewards(self, sequences: Any, pessimism: float) -> list[float]:
        return [float(tokens[0]) - pessimism for _, tokens in sequences]


def rewards(
    recipe: PpoRecipe, ceiling: float | None, answers: list[Any], **sources: Any
) -> list[Reward | None]:
    from policies.training.engines.rewarding import Rewarder

    return Rewarder(recipe, ceiling, **sources).rewards(answers)


def test_a_stored_verdict_is_of_exactly_this_answer_to_exactly_this_prompt() -> None:
    """The same answer to another prompt, or another answer, has none."""
    from policies.training.engines.rewarding import stored

    known = stored({((1,), (5,)): 7.5})
    assert known([answer(1, 5), answer(2, 5), answer(1, 6)]) == [7.5, None, None]


def test_verdict_and_model_are_weighed_where_both_are_known() -> None:
    """A quarter of the verdict 9 and three quarters of the model's 5 - 1 are 5.25; without one it is 4."""
    from policies.training.engines.rewarding import stored

    found = rewards(
        RECIPE, None, [answer(1, 5), answer(2, 5)], model=Model(), verdicts=stored({((1,), (5,)): 9.0})
    )
    assert found == [Reward(5.25), Reward(4.0)]


def test_verdicts_alone_weigh_whole_and_leave_the_others_out() -> None:
    """Without a model an answer that nobody has judged has no reward, rather than one of 0."""
    from policies.training.engines.rewarding import stored

    found = rewards(RECIPE, None, [answer(1, 5), answer(2, 5)], verdicts=stored({((1,), (5,)): 6.0}))
    assert found == [Reward(6.0), None]


def test_the_ceiling_binds_the_mixture_and_a_cut_answer_pays_below_it() -> None:
    """10 - 1 is above the ceiling of 8; cut, it is 8 - 3."""
    found = rewards(RECIPE, 8.0, [answer(1, 10), answer(1, 10, truncated=True), answer(1, 3)], model=Model())
    assert found == [Reward(8.0, capped=True), Reward(5.0, capped=True), Reward(2.0)]


def test_without_any_source_there_is_no_run() -> None:
    """It says what is missing."""
    with pytest.raises(JobError, match="neither"):
        rewards(RECIPE, None, [answer(1, 5)])


def test_a_ceiling_is_taken_from_answers_that_were_seen_before() -> None:
    """`auto` is the 90th percentile of what is known, a number is itself, `none` is none."""
    from policies.training.engines.rewarding import resolved_ceiling

    def seen() -> list[float | None]:
        return [None, *(float(n) for n in range(11))]

    def unasked() -> list[float | None]:
        raise AssertionError("nobody needs to know")

    assert resolved_ceiling(PpoRecipe(), seen) == 9
    assert resolved_ceiling(PpoRecipe(ceiling=7), unasked) == 7
    assert resolved_ceiling(PpoRecipe(ceiling="none"), unasked) is None
    with pytest.raises(JobError, match="write a number"):
        resolved_ceiling(PpoRecipe(), lambda: [None])
