"""What plans are decided from in tests: real models' shapes, and pairs of a given length."""

from policies.policy import TrainingGuards
from policies.recipes import DpoRecipe
from policies.training.planning.dpo import decide
from policies.training.planning.memory import Kind, Setting
from policies.training.planning.plan import Facts, TrainingPlan
from policies.training.planning.resolved import ResolvedDpo
from policies.training.planning.shape import Lengths, Shape

GB = 1_000_000_000
SMOL = Shape(
    parameters=134_515_008,
    active=134_515_008,
    trainable=4_884_480,
    layers=30,
    hidden=576,
    feed_forward=1536,
    key_value=192,
    vocabulary=49_152,
)
"""SmolLM2-135M with an adapter of rank 16 on all linear layers."""
EIGHT = Shape(
    parameters=8_030_261_248,
    active=8_030_261_248,
    trainable=41_943_040,
    layers=32,
    hidden=4096,
    feed_forward=14_336,
    key_value=1024,
    vocabulary=128_256,
)
"""Llama 3.1 8B with the same."""


def lengths(pairs: int, *, prompt: int = 100, answer: int = 48, longest: int | None = None) -> Lengths:
    """Pairs that are all alike, but for the longest where one is given."""
    return Lengths(
        pairs=pairs,
        tokens=pairs * 2 * (prompt + answer),
        longest=longest or prompt + answer,
        prompt=prompt,
        answer=answer,
    )


def facts(
    pairs: int, *, shape: Shape = SMOL, there: int | None = 64 * GB, kind: Kind = "cpu", **tokens: int
) -> Facts:
    """Facts about so many pairs on a processor, or on a card with bfloat16."""
    return Facts(
        shape=shape,
        lengths=lengths(pairs, **tokens),
        setting=Setting(
            kind=kind,
            precision="float32" if kind == "cpu" else "bfloat16",
            samples=16,
            max_new_tokens=48,
        ),
        there=there,
    )


def plan(pairs: int, recipe: DpoRecipe | None = None, **changes: object) -> TrainingPlan:
    """The default recipe's plan for so many pairs, or another recipe's."""
    return decide(recipe or DpoRecipe(), TrainingGuards(), facts(pairs, **changes))  # type: ignore[arg-type]


def dpo(found: TrainingPlan) -> ResolvedDpo:
    """The explicit recipe of a plan for DPO."""
    assert isinstance(found.recipe, ResolvedDpo)
    return found.recipe
