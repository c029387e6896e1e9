"""What of an answer is a target of the loss, and what is only context."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from policies.recipes import Lora
from policies.snapshot import Pair
from tests.conversations import CONVERSATIONS, agent
from tests.families import FAMILIES, build

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

Loss = Callable[[dict[str, Any]], float]
GOES_ON = CONVERSATIONS["answer goes on after a result"]


class Bench:
    """A model with a real tool template, one pair whose answer holds a call, its result and a text, and the
    trainer's own loss.
    """

    def __init__(self, folder: Path) -> None:
        import torch

        from policies.training.model import lora
        from policies.training.model.rendering import Rendering

        self.base = lora.load(str(build(FAMILIES["qwen3"], folder / "base")), None, "cpu")
        self._folder = folder
        self._model = lora.fresh(self.base, Lora(r=4, alpha=8))
        torch.manual_seed(0)
        for value in lora.trainable(self._model).values():
            torch.nn.init.normal_(value, std=0.1)
        self.rendering = Rendering(self.base.tokenizer, generation=self.base.model.generation_config)
        self.row = self._row()

    def _row(self) -> dict[str, Any]:
        from policies.training.engines import batches
        from policies.training.model.dataset import prepare

        pair = Pair(preference=1, prompt=GOES_ON.prompt, chosen=GOES_ON.answer, rejected=(agent("No."),))
        (row,) = batches.rows(prepare([pair], self.rendering, 2000).examples)
        return row

    def loss(self, *, shared: bool) -> Loss:
        """The trainer's loss of one row; `shared`: with the prompt computed once for both answers."""
        from trl import DPOConfig

        from policies.training.engines import pair_trainer

        trainer = pair_trainer.PairTrainer(
            sft_weight=1.0,
            check_margin=False,
            extra_state=str,
            model=self._model,
            args=DPOConfig(
                output_dir=str(self._folder),
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                report_to=[],
                remove_unused_columns=False,
            ),
            pad=self.rendering.pad,
            rows=[self.row],
            processing_class=self.base.tokenizer,
        )
        trainer.model.delete_adapter("ref")
        if shared:
            assert "computed once" in trainer.share()

        def of(row: dict[str, Any]) -> float:
            found: float = trainer._compute_loss(trainer.model, trainer.data_collator([row]), False).item()
            return found

        return of

    def with_twins(self, positions: Sequence[int]) -> dict[str, Any]:
        """The row with other tokens at these places of the chosen answer, which the model cannot tell apart
        as input: their embeddings are made the same. As targets they are others.
        """
        import torch

        ids = list(self.row["chosen_ids"])
        used = {*self.row["prompt_ids"], *ids, *self.row["rejected_ids"]}
        weights = self.base.model.get_input_embeddings().weight
        spare = (token for token in range(weights.shape[0]) if token not in used)
        twins = {token: next(spare) for token in sorted({ids[position] for position in positions})}
        with torch.no_grad():
            for token, twin in twins.items():
                weights[twin] = weights[token]
        for position in positions:
            ids[position] = twins[ids[position]]
        return {**self.row, "chosen_ids": ids}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("shared", [False, True])
def test_a_results_tokens_are_no_targets(bench: Bench, shared: bool) -> None:
    """With other target ids all over a tool's result, inside an answer, the loss is the same to the last bit;
    with another one at a token of the agent's own, it is not.
    """
    mask, ids = bench.row["chosen_mask"], bench.row["chosen_ids"]
    first = mask.index(1)
    last = max(index for index, own in enumerate(mask) if own)
    context = [index for index in range(first, last) if not mask[index]]
    assert "scanned in Linz" in bench.base.tokenizer.decode([ids[index] for index in context])
    loss = bench.loss(shared=shared)
    before = loss(bench.row)
    changed = bench.with_twins(context)
    assert (
        sum(one != other for one, other in zip(changed["chosen_ids"], ids, strict=True)) == len(context) > 20
    )
    assert loss(changed) == before
    assert loss(bench.with_twins([first])) != before
    assert loss(bench.with_twins([last])) != before
