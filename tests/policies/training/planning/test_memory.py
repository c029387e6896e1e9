"""The sum of a run's memory against peaks that were measured, and the cut into batches that follows."""

import pytest

from policies.recipes import DpoRecipe
from policies.training.planning import memory
from policies.training.planning.fitting import MOST_AT_ONCE, halved
from policies.training.planning.memory import Setting, estimate
from tests.policies.training.planning.facts import EIGHT, GB, SMOL, dpo, lengths, plan

MEASURED = [
    (1, 69, False, 2.00),
    (4, 168, False, 4.88),
    (8, 168, True, 4.56),
    (1, 932, False, 5.72),
    (1, 932, True, 3.65),
]
"""SmolLM2-135M, float32: pairs in a batch, tokens of a sequence, checkpointing, peak RSS of the child in
GB."""


@pytest.mark.parametrize(("batch", "longest", "checkpointing", "peak"), MEASURED)
def test_the_estimate_is_near_what_was_measured(
    batch: int, longest: int, checkpointing: bool, peak: float
) -> None:
    """Within a fifth, and never more than a twentieth below."""
    setting = Setting(kind="cpu", precision="float32", samples=1, max_new_tokens=1)
    found = estimate(SMOL, lengths(8, longest=longest), setting, batch=batch, checkpointing=checkpointing)
    assert 0.95 < found.total / (peak * GB) < 1.2


def test_a_reading_of_the_guards_is_near_what_was_measured() -> None:
    """16 answers of 96 tokens to prompts of 91: 2.56 GB where nothing is trained."""
    setting = Setting(kind="cpu", precision="float32", samples=16, max_new_tokens=96)
    found = estimate(SMOL, lengths(8, longest=91), setting, batch=1, checkpointing=False)
    assert 0.95 < (found.fixed + found.readings) / (2.56 * GB) < 1.25


def test_the_tiles_are_trls_own() -> None:
    """The sizes that the formula counts with are those of the installed release."""
    from trl.kernels import chunked_logprob
    from trl.trainer import utils

    assert chunked_logprob.TOKEN_CHUNK_SIZE == memory.TILE_TOKENS
    assert utils._CHUNKED_LOGPROB_CHUNK_SIZE == memory.TILE_WORDS


def test_the_pairs_of_a_step_stay_the_same_in_less_memory() -> None:
    """First smaller batches, then checkpointing; the same steps, rate and readings at every size."""
    cuts = []
    for gigabytes in (80, 45, 22, 21):
        found = plan(5000, shape=EIGHT, kind="cuda", there=gigabytes * GB)
        assert found.refusal == ""
        assert found.memory.total <= 0.9 * gigabytes * GB
        recipe = dpo(found)
        assert recipe.batch_size * recipe.gradient_accumulation == 16
        assert (recipe.steps, recipe.learning_rate, found.every_steps) == (313, 1.1e-5, 27)
        cuts.append((recipe.batch_size, recipe.gradient_accumulation, recipe.gradient_checkpointing))
    assert cuts == [(16, 1, False), (8, 2, False), (1, 16, False), (4, 4, True)]


def test_a_processor_is_not_filled_where_that_is_no_faster() -> None:
    """However much memory there is."""
    found = dpo(plan(5000, there=1000 * GB))
    assert (found.batch_size, found.gradient_accumulation) == (MOST_AT_ONCE["cpu"], 4)


def test_what_does_not_fit_is_refused_with_the_sum_and_the_key() -> None:
    """One line: each part, what is there, and what to change; the plan itself is whole all the same."""
    short = plan(200, there=3 * GB, longest=3900)
    assert short.refusal == (
        "one pair of 3900 tokens does not fit: 7.4 GB (weights 0.5, adapter 0.1, activations 1.0, "
        "logits 4.8, readings 1.7, process 0.9) where the cpu has 3.0 GB, a tenth of which is left alone: "
        "set policy.recipe.max_length to 437 at most (longer pairs are then left out)"
    )
    assert short.recipe.steps == 50
    assert plan(200, there=3 * GB, longest=437).refusal == ""
    assert plan(200, there=3 * GB, longest=438).refusal != ""


def test_a_base_that_does_not_fit_at_all_is_said() -> None:
    """No length and no batch would help."""
    refusal = plan(200, shape=EIGHT, there=16 * GB).refusal
    assert "weights 32.1" in refusal
    assert refusal.endswith("choose a smaller policy.base_model (training.memory_gb overrides what is there)")


@pytest.mark.parametrize(
    "written", [{"batch_size": 64}, {"batch_size": 8, "gradient_checkpointing": False}, {"batch_size": 8}]
)
def test_what_is_written_is_taken_as_it_is_or_refused(written: dict[str, object]) -> None:
    """A batch that does not fit is not made smaller in silence: the line says which keys to free."""
    recipe = DpoRecipe.model_validate(written)
    found = plan(200, recipe, there=3 * GB)
    assert dpo(found).batch_size == recipe.batch_size
    assert found.refusal.startswith(f"a batch of {recipe.batch_size} pairs of 148 tokens does not fit")
    assert "set policy.recipe.batch_size and gradient_checkpointing to auto" in found.refusal
    assert plan(200, recipe, there=64 * GB).refusal == ""


def test_a_written_accumulation_is_kept() -> None:
    """The batch is then what is left of the pairs of a step."""
    found = dpo(plan(200, DpoRecipe(gradient_accumulation=4)))
    assert (found.batch_size, found.gradient_accumulation) == (2, 4)
    assert dpo(plan(200, DpoRecipe(gradient_accumulation=16))).batch_size == 1


def test_unknown_memory_refuses_nothing() -> None:
    """Where nobody can say how much there is, the run is begun."""
    assert plan(200, shape=EIGHT, there=None).refusal == ""


@pytest.mark.parametrize(("batch", "expected"), [(2, (1, 2)), (6, (3, 2)), (7, (1, 7)), (16, (8, 2))])
def test_a_batch_is_halved_to_what_divides_it(batch: int, expected: tuple[int, int]) -> None:
    """The product stays."""
    assert halved(batch, 1) == expected
