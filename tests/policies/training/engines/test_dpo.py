"""The trainer: shared prompts change no figure and no gradient, and the reference is what it should be."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.families import FAMILIES, build
from tests.policies.training.conftest import RECIPE
from tests.policies.training.engines.conftest import row_of, trainer_of

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    # PEFT looks for it among the modules; experts are parameters, and theirs is not ignored.
    pytest.mark.filterwarnings("ignore:The following rank_pattern keys did not match:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:The following alpha_pattern keys did not match:RuntimeWarning"),
]

WITH_OTHER_MASKS = ("llama", "gemma3-text", "gpt-oss", "qwen3-moe")
"""One mask as numbers, one for each kind of layer, one for attention that takes nothing else; and experts."""


def adapter(base: Path, folder: Path, rows: list[Any], **changes: Any) -> Path:
    """An adapter that says something else than the base, saved."""
    from policies.training.model import lora

    model = trainer_of(base, folder / "parent-run", rows, **changes).model
    lora.save(model, folder / "parent", lora.load(str(base), None, "cpu"))
    return folder / "parent"


@pytest.fixture
def parent(tiny_model: Path, tmp_path: Path, rows: list[Any]) -> Path:
    return adapter(tiny_model, tmp_path, rows)


def stepped(trainer: Any) -> tuple[float, dict[str, Any]]:
    """Loss and gradients of the first batch, without a step."""
    from policies.training.model import lora

    trainer.model.train()
    trainer.model.zero_grad()
    batch = trainer._prepare_inputs(trainer.data_collator(trainer.rows))
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), {name: value.grad.clone() for name, value in lora.trainable(trainer.model).items()}


def assert_the_same(one: tuple[float, dict[str, Any]], two: tuple[float, dict[str, Any]]) -> None:
    assert one[0] == pytest.approx(two[0], rel=1e-5)
    assert one[1].keys() == two[1].keys()
    for name, gradient in one[1].items():
        assert gradient.norm() > 0, name
        assert (gradient - two[1][name]).norm() <= 1e-5 * gradient.norm(), name


@pytest.mark.parametrize("name", WITH_OTHER_MASKS)
def test_loss_and_gradients_are_those_of_whole_rows(name: str, tmp_path: Path, rows: list[Any]) -> None:
    """Every LoRA weight's gradient agrees to 1e-5 of its norm, with weights, soft labels and context."""
    trainer = trainer_of(build(FAMILIES[name], tmp_path / "base"), tmp_path / "run", rows)
    whole = stepped(trainer)
    assert "computed once for both answers" in trainer.share()
    assert "segments" in trainer.data_collator(trainer.rows)
    assert_the_same(stepped(trainer), whole)


def test_checkpointed_gradients_of_shared_prompts_are_the_gradients(
    tiny_model: Path, tmp_path: Path, rows: list[Any]
) -> None:
    """Layers that are computed again see the same mask; the reference pass in between changes nothing."""
    kept = trainer_of(tiny_model, tmp_path / "kept", rows)
    kept.share()
    spared = trainer_of(tiny_model, tmp_path / "spared", rows, gradient_checkpointing=True)
    assert "computed once for both answers" in spared.share()
    # The trainer switches it on when the training begins.
    spared.model.gradient_checkpointing_enable(spared.args.gradient_checkpointing_kwargs)
    layers = [module for module in spared.model.modules() if getattr(module, "gradient_checkpointing", False)]
    assert layers
    again: list[int] = []
    handle = (
        spared.model.get_base_model()
        .model.layers[0]
        .mlp.register_forward_pre_hook(lambda *_: again.append(1))
    )
    found = stepped(spared)
    handle.remove()
    assert len(again) == 3, "forward, reference, and forward again for the gradients"
    assert_the_same(found, stepped(kept))


def test_a_continued_adapter_is_compared_with_its_own_start(
    tiny_model: Path, tmp_path: Path, rows: list[Any], parent: Path
) -> None:
    """The reference is the parent's frozen copy in both ways of scoring, asked ahead or in the step."""
    from policies.training.model import lora

    base = lora.load(str(tiny_model), None, "cpu")
    trainer = trainer_of(tiny_model, tmp_path / "run", rows, parent=parent)
    whole = stepped(trainer)
    trainer.share()
    shared = stepped(trainer)
    assert_the_same(shared, whole)
    trainer.keep_reference(base, lambda _done, _total: None)
    assert_the_same(stepped(trainer), whole)
    assert set(trainer.model.peft_config) == {"default", "ref"}
    assert {name for name in lora.trainable(trainer.model) if "ref" in name.split(".")} == set()


def test_a_reference_that_is_not_the_start_is_refused(
    tiny_model: Path, tmp_path: Path, rows: list[Any], parent: Path
) -> None:
    """A first margin that is not 0 ends the run, also with shared prompts."""
    from policies.training.errors import JobError
    from policies.training.model import lora

    trainer = trainer_of(tiny_model, tmp_path / "run", rows, parent=parent, beta=5.0)
    trainer.share()
    copied = {
        name.replace(".default.", ".ref."): value for name, value in lora.trainable(trainer.model).items()
    }
    trainer.model.load_state_dict(copied, strict=False)
    trainer._check_margin = True
    stepped(trainer)
    trainer._reference = None
    trainer._check_margin = True
    with pytest.raises(JobError, match="the reference is not the start policy"):
        stepped(trainer)


def test_the_reference_has_no_dropout(tiny_model: Path, tmp_path: Path, rows: list[Any]) -> None:
    """The adapter is trained with dropout, and its frozen start answers the same each time."""
    import torch

    shape = RECIPE.lora.model_copy(update={"dropout": 0.5})
    parent = adapter(tiny_model, tmp_path, rows, lora=shape)
    trainer = trainer_of(tiny_model, tmp_path / "run", rows, parent=parent, lora=shape)
    trainer.share()
    trainer.model.train()
    batch = trainer.data_collator(rows)
    one, two = (trainer._refer(trainer._scoring, batch).log_probs for _ in range(2))
    assert torch.equal(one, two)
    assert trainer.model.training
    mine, again = (trainer.scores(rows).log_probs for _ in range(2))
    assert not torch.equal(mine, again)


def test_batches_are_of_like_length_in_the_way_they_are_scored(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shared rows are sorted by prompt and both answers together, and padded little."""
    rng = random.Random(4)
    sizes = [(rng.randrange(20, 90), rng.randrange(2, 20), rng.randrange(2, 20)) for _ in range(64)]
    trainer = trainer_of(tiny_model, tmp_path / "run", [row_of(rng, each) for each in sizes], batch_size=4)

    def padding() -> float:
        order = list(trainer._get_train_sampler())
        batches = [
            trainer.data_collator([trainer.rows[i] for i in order[at : at + 4]]) for at in range(0, 64, 4)
        ]
        held = sum(batch["input_ids"].numel() for batch in batches)
        assert sorted(order) == list(range(64))
        return held / sum(row["shared_length"] for row in trainer.rows)

    trainer.share()
    assert padding() < 1.1


def scored(trainer: Any) -> list[int]:
    """Filled with how many pairs each call of the way of scoring takes."""
    sizes: list[int] = []
    real: Callable[..., Any] = trainer._scoring.score

    def score(model: Any, batch: Any) -> Any:
        sizes.append(len(batch["weight"]))
        return real(model, batch)

    trainer._scoring.score = score
    return sizes


def test_the_reference_is_asked_once_for_a_run(tiny_model: Path, tmp_path: Path, rows: list[Any]) -> None:
    """Kept ahead, a step is one pass; otherwise it is two. The figures are the same."""
    from policies.training.model import lora

    base = lora.load(str(tiny_model), None, "cpu")
    trainer = trainer_of(tiny_model, tmp_path / "run", rows, batch_size=2)
    trainer.share()
    sizes = scored(trainer)
    in_the_step = stepped(trainer)
    assert sizes == [4, 4]
    sizes.clear()
    told: list[tuple[int, int]] = []
    trainer.keep_reference(base, lambda done, total: told.append((done, total)))
    assert sizes == [2, 2]
    assert told == [(0, 4), (2, 4)]
    sizes.clear()
    assert_the_same(stepped(trainer), in_the_step)
    assert sizes == [4]
