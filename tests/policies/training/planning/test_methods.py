"""What is decided about a reward model and about PPO before a run."""

import pytest

from policies.policy import TrainingGuards
from policies.recipes import KtoRecipe, PpoRecipe, RewardRecipe, SftRecipe
from policies.training.planning import kto, ppo, reward, sft
from policies.training.planning.plan import Facts, TrainingPlan
from policies.training.planning.resolved import ResolvedKto, ResolvedPpo, ResolvedReward, ResolvedSft
from tests.policies.training.planning.facts import GB, facts

GUARDS = TrainingGuards()


def reward_plan(asked: RewardRecipe, *, there: int | None = None, pairs: int = 200) -> TrainingPlan:
    return reward.decide(asked, GUARDS, facts(pairs, there=there))


def ppo_plan(asked: PpoRecipe, *, there: int | None = None, prompts: int = 200) -> TrainingPlan:
    return ppo.decide(asked, GUARDS, facts(prompts, there=there))


def ppo_of(asked: PpoRecipe, prompts: int) -> ResolvedPpo:
    recipe = ppo_plan(asked, prompts=prompts).recipe
    assert isinstance(recipe, ResolvedPpo)
    return recipe


def test_a_reward_models_steps_are_those_of_all_its_folds() -> None:
    """Each of three folds learns from two thirds; nothing is sampled on the way, and nothing read."""
    asked = RewardRecipe(epochs=2)
    alone, three = reward_plan(asked), reward_plan(asked.model_copy(update={"folds": 3}))
    assert (alone.recipe.steps, three.recipe.steps) == (50, 3 * 34)
    assert (alone.readings, three.memory.readings) == (0, 0)
    assert three.flops == pytest.approx(alone.flops * 102 / 50)
    assert reward_plan(asked.model_copy(update={"max_steps": 7, "folds": 2})).recipe.steps == 14


@pytest.mark.parametrize(
    ("prompts", "at_once", "steps", "rate"),
    [(16, 4, 27, 1.2e-4), (90, 8, 27, 1.5e-4), (200, 8, 53, 1.0e-4), (5_000, 16, 103, 5.2e-5)],
)
def test_steps_and_rate_of_ppo_follow_from_the_prompts(
    prompts: int, at_once: int, steps: int, rate: float
) -> None:
    """As many learning steps as pairs would get, a hundred at most, and three for the critic before; a rate
    by the number of updates; returns as long as the policy's. What is written is kept.
    """
    found = ppo_of(PpoRecipe(), prompts)
    assert (found.prompts, found.steps, found.max_new_tokens) == (at_once, steps, 48)
    assert found.learning_rate == pytest.approx(rate)
    written = {"steps": 9, "prompts": 5, "max_new_tokens": 7, "learning_rate": 2e-3}
    kept = ppo_of(PpoRecipe.model_validate(written), prompts)
    assert {name: getattr(kept, name) for name in written} == written


@pytest.mark.parametrize(
    ("pairs", "steps", "rate"), [(45, 24, 2.1e-4), (200, 50, 1.5e-4), (1000, 125, 6.8e-5)]
)
def test_steps_and_rate_of_a_reward_model_follow_from_the_pairs(pairs: int, steps: int, rate: float) -> None:
    """By the rules for pairs; what is written is kept."""
    found = reward_plan(RewardRecipe(), pairs=pairs).recipe
    assert isinstance(found, ResolvedReward)
    assert found.steps == steps
    assert found.learning_rate == pytest.approx(rate)
    kept = reward_plan(RewardRecipe(epochs=1, learning_rate=1e-3), pairs=pairs).recipe
    assert isinstance(kept, ResolvedReward)
    assert (kept.epochs, kept.learning_rate) == (1.0, 1e-3)


def test_what_the_memory_does_not_hold_is_done_in_smaller_pieces() -> None:
    """The pairs of a step and the answers of a minibatch are the recipe's, however they are cut."""
    wide = reward_plan(RewardRecipe(), there=1000 * GB)
    tight = reward_plan(RewardRecipe(), there=wide.memory.total)
    assert isinstance(wide.recipe, ResolvedReward)
    assert isinstance(tight.recipe, ResolvedReward)
    assert (wide.recipe.batch_size, wide.recipe.gradient_accumulation) == (8, 1)
    assert (tight.recipe.batch_size, tight.recipe.gradient_accumulation) == (4, 2)
    assert tight.recipe.steps == wide.recipe.steps
    asked = PpoRecipe()
    roomy = ppo_plan(asked, there=1000 * GB)
    small = ppo_plan(asked, there=roomy.memory.total)
    assert isinstance(small.recipe, ResolvedPpo)
    assert (small.recipe.microbatch, small.recipe.sampling_batch) == (4, 16)
    assert small.recipe.minibatch == asked.minibatch
    assert small.memory.total < roomy.memory.total
    assert (small.refusal, tight.refusal) == ("", "")


def test_what_fits_in_no_piece_is_refused_with_the_keys_to_change() -> None:
    """In one line."""
    assert "lower policy.recipe.max_length" in reward_plan(RewardRecipe(), there=GB // 10).refusal
    said = ppo_plan(PpoRecipe(), there=GB // 10).refusal
    assert said.startswith("one answer does not fit")
    assert "max_new_tokens" in said


def test_a_ppo_recipe_halves_down_to_one_answer() -> None:
    """Both in learning and in sampling; then there is nothing left to halve."""
    recipe = ppo_plan(PpoRecipe(microbatch=2, sampling_batch=5)).recipe
    assert isinstance(recipe, ResolvedPpo)
    sizes = []
    while recipe.at_once > 1:
        recipe = recipe.smaller()
        sizes.append((recipe.microbatch, recipe.sampling_batch))
    assert sizes == [(1, 2), (1, 1)]
    with pytest.raises(ValueError, match="cannot be halved"):
        recipe.smaller()


def test_plans_survive_their_file() -> None:
    """A run that is taken up reads its plan back, whatever the method."""
    for plan in (reward_plan(RewardRecipe(folds=2)), ppo_plan(PpoRecipe(ceiling=8.5))):
        again = TrainingPlan.model_validate_json(plan.model_dump_json())
        assert again == plan
        assert type(again.recipe) is type(plan.recipe)
        assert again.taken_up(plan) == plan
        assert all(name and value for name, value in again.recipe.rows())


def shared(pairs: int, processes: int) -> Facts:
    """Facts about single answers, for so many processes."""
    found = facts(pairs)
    lengths = found.lengths.model_copy(update={"sequences": 1})
    setting = found.setting.model_copy(update={"processes": processes})
    return found.model_copy(update={"lengths": lengths, "setting": setting})


def test_processes_share_the_answers_of_a_step() -> None:
    """As many steps at the same rate, whoever makes them."""
    asked = SftRecipe(batch_size=8, gradient_accumulation=1)
    one, two = (sft.decide(asked, TrainingGuards(), shared(240, each)) for each in (1, 2))
    assert isinstance(one.recipe, ResolvedSft)
    assert isinstance(two.recipe, ResolvedSft)
    assert (two.recipe.batch_size, two.recipe.gradient_accumulation, two.recipe.processes) == (4, 1, 2)
    assert (one.recipe.steps, one.recipe.learning_rate) == (two.recipe.steps, two.recipe.learning_rate)
    assert one.recipe.passes(240) == two.recipe.passes(240)
    assert "4 x 1 answers in each of 2 processes" in str(two)


def test_a_batch_of_kto_is_never_cut_among_processes() -> None:
    """Its estimate of KL is of the batch: what is divided is the accumulation, or the run is refused."""
    asked = KtoRecipe(batch_size=8, gradient_accumulation=2)
    two = kto.decide(asked, TrainingGuards(), shared(240, 2))
    assert isinstance(two.recipe, ResolvedKto)
    assert (two.recipe.batch_size, two.recipe.gradient_accumulation, two.refusal) == (8, 1, "")
    open_ones = kto.decide(KtoRecipe(), TrainingGuards(), shared(240, 2)).recipe
    assert isinstance(open_ones, ResolvedKto)
    assert open_ones.batch_size * open_ones.gradient_accumulation * 2 == 8
    alone = kto.decide(KtoRecipe(batch_size=8), TrainingGuards(), shared(240, 2))
    assert alone.refusal == (
        "a batch of 8 answers is not cut among 2 processes, as KL is estimated across it: set "
        "policy.recipe.gradient_accumulation to a multiple of 2"
    )
