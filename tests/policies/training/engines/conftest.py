"""What the engines' tests share: pairs of random tokens, and models with TRL's head and no trainer around."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from policies.policy import TrainingGuards
from tests.families import FAMILIES, build
from tests.policies.training.conftest import RECIPE
from tests.policies.training.engines import wishes

FIRST, LAST = 8, 32
"""Token ids that every model of these tests has."""
SIZES = ((90, 20, 12), (12, 5, 9), (40, 1, 7), (25, 30, 3))
"""Tokens of prompt, chosen and rejected answer: longer than the families' windows, and shorter."""


def row_of(rng: random.Random, sizes: tuple[int, int, int], *, weight: float = 1.0, soft: float = 1.0) -> Any:
    """A row of the dataset. Of an answer longer than four tokens the third is context."""
    from policies.training.engines.batches import rows
    from policies.training.model.dataset import Example

    def ids(size: int) -> list[int]:
        return [rng.randrange(FIRST, LAST) for _ in range(size)]

    def mask(size: int) -> list[int]:
        return [int(size <= 4 or index != 2) for index in range(size)]

    prompt, chosen, rejected = sizes
    example = Example(
        ids(prompt), ids(chosen), mask(chosen), ids(rejected), mask(rejected), weight=weight, soft=soft
    )
    return rows([example])[0]


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Pairs of unlike lengths, weights and soft labels."""
    rng = random.Random(0)
    return [
        row_of(rng, sizes, weight=1 + number / 2, soft=1 - number / 10) for number, sizes in enumerate(SIZES)
    ]


@pytest.fixture
def family(tmp_path: Path) -> Callable[..., Any]:
    """Loads a tiny model of a family, with TRL's fused head."""

    def make(name: str, **changes: Any) -> Any:
        import torch
        from transformers import AutoModelForCausalLM

        directory = build(FAMILIES[name], tmp_path / name, **changes)
        return headed(
            AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, local_files_only=True)
        )

    return make


def headed(model: Any) -> Any:
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(model.eval(), outputs=("log_probs", "entropy"))
    return model


def decided(model: Any, rows: Sequence[dict[str, Any]], *, batch: int = 4) -> Any:
    """What is decided about a bare model."""
    from policies.training.engines import sharing

    return sharing.decide(model, model.base_model, rows, scorer(model), pad=0, batch=batch)


def scorer(model: Any) -> Callable[[Any, Any], Any]:
    import torch

    @torch.no_grad()
    def score(scoring: Any, batch: Any) -> Any:
        return scoring.score(model, batch)

    return score


def spelled_out(model: Any, row: dict[str, Any], side: str) -> float:
    """An answer's log-probability from the model's own logits, the sequence alone and without padding."""
    import torch

    prompt, answer = row["prompt_ids"], row[f"{side}_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + answer]), use_cache=False).logits[0].float()
    said = logits[:-1].log_softmax(dim=-1).gather(1, torch.tensor(prompt + answer)[1:, None])[:, 0]
    counted = torch.tensor([0] * len(prompt) + row[f"{side}_mask"])[1:]
    return float((said * counted).sum())


def trainer_of(
    directory: Path, out: Path, rows: Sequence[dict[str, Any]], *, parent: Path | None = None, **changes: Any
) -> Any:
    """A trainer whose adapter is no longer the base, for the recipe with these changes."""
    import torch

    from policies.training.engines import pair_trainer
    from policies.training.model import lora
    from policies.training.planning.dpo import decide
    from tests.policies.training.planning.facts import dpo, facts

    base = lora.load(str(directory), None, "cpu")
    recipe = RECIPE.model_copy(update={"batch_size": len(rows)} | changes)
    model = lora.continued(base, parent, recipe.lora) if parent else lora.fresh(base, recipe.lora)
    trainer = pair_trainer.PairTrainer(
        sft_weight=0.7,
        check_margin=False,
        extra_state=str,
        pad=base.tokenizer.pad_token_id,
        rows=rows,
        reference=lora.REFERENCE if parent else None,
        model=model,
        args=pair_trainer.arguments(dpo(decide(recipe, TrainingGuards(), facts(len(rows)))), out, base, 0),
        processing_class=base.tokenizer,
    )
    if parent is None:
        trainer.model.delete_adapter(lora.REFERENCE)
    torch.manual_seed(0)
    for value in lora.trainable(model).values():
        torch.nn.init.normal_(value, std=0.05)
    return trainer


@pytest.fixture
def own_base(tiny_model: Path) -> Any:
    """The tiny model, loaded for one test alone."""
    from policies.training.model import lora

    return lora.load(str(tiny_model), None, "cpu")


@pytest.fixture
def ppo_for(tiny_model: Path, tmp_path: Path) -> Callable[..., Any]:
    """Makes a run on a base of its own, rewarded for the words that are wished for."""
    return wishes.maker(tiny_model, tmp_path)
