"""What TRL's trainers of single answers lack: rows as they come, the rate's course, sealed checkpoints.

The classes here stand before one of TRL's in a class's bases.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import Trainer

from policies.training.engines import savepoints, schedule
from policies.training.engines.batches import MEGABATCHES
from policies.training.model import checkpoints
from policies.training.model.singles import Single

Row = dict[str, Any]


class Upkeep(Trainer):
    """Batches of like length in a reproducible order, and what a run must find again after a kill.

    Behind it stands one of TRL's trainers; `rows` are its dataset.
    """

    def __init__(
        self,
        *,
        extra_state: Callable[[], str],
        rows: Sequence[Row],
        collate: Callable[[Sequence[Row]], dict[str, torch.Tensor]],
        warmup_steps: int = 0,
        **kwargs: Any,
    ) -> None:
        self._extra_state = extra_state
        self._warmup_steps = warmup_steps
        self.rows = list(rows)
        super().__init__(train_dataset=Dataset.from_list(self.rows), data_collator=collate, **kwargs)

    def _prepare_dataset(self, dataset: Any, *_args: Any, **_kwargs: Any) -> Any:
        return dataset

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        del train_dataset
        return MixedBuckets(self.rows, self.args.train_batch_size, self.args.seed)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The learning rate over the steps; the base class's would begin at 0."""
        if self.lr_scheduler is None:
            factor = partial(schedule.factor, warmup=self._warmup_steps, steps=num_training_steps)
            self.lr_scheduler: Any = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
        return self.lr_scheduler

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Without the model card that TRL writes."""
        Trainer._save_checkpoint(self, model, trial)  # noqa: SLF001
        directory = Path(self.args.output_dir) / f"{checkpoints.PREFIX}{self.state.global_step}"
        savepoints.finish(directory, self._extra_state())


class MixedBuckets(torch.utils.data.Sampler[int]):
    """A random order whose batches hold good and bad answers in the proportion of the whole, each kind of
    like length; a function of seed and epoch alone.
    """

    def __init__(self, rows: Sequence[Row], batch: int, seed: int) -> None:
        self._rows = rows
        self._batch = batch
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The trainer says which epoch begins."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        order = torch.randperm(len(self._rows), generator=generator).tolist()
        mega = self._batch * MEGABATCHES
        batches: list[list[int]] = []
        for start in range(0, len(order), mega):
            bucket = self._mixed(order[start : start + mega])
            batches += [bucket[at : at + self._batch] for at in range(0, len(bucket), self._batch)]
        full = [batch for batch in batches if len(batch) == self._batch]
        rest = [batch for batch in batches if len(batch) < self._batch]
        for index in torch.randperm(len(full), generator=generator).tolist():
            yield from full[index]
        for batch in rest:
            yield from batch

    def _mixed(self, indices: Sequence[int]) -> list[int]:
        """By the place that each has among those of its kind, from the shortest to the longest."""
        places: list[tuple[float, int]] = []
        for good in (True, False):
            kind = [index for index in indices if self._rows[index]["good"] is good]
            kind.sort(key=lambda index: self._rows[index]["length"])
            places += [((at + 0.5) / len(kind), index) for at, index in enumerate(kind)]
        return [index for _, index in sorted(places)]


def rows_of(examples: Sequence[Single]) -> list[Row]:
    """The examples as the dataset's rows."""
    return [
        {
            "prompt_ids": example.prompt,
            "answer_ids": example.answer,
            "answer_mask": example.mask,
            "weight": example.weight,
            "good": example.good,
            "length": example.length,
        }
        for example in examples
    ]


def padded(sequences: Sequence[tuple[list[int], list[int], list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """(prompt, answer, mask) to `input_ids`, `attention_mask` and `completion_mask`, [B, T] each, padded on
    the right.
    """
    width = max(len(prompt) + len(answer) for prompt, answer, _ in sequences)
    shape = (len(sequences), width)
    ids = torch.full(shape, pad, dtype=torch.long)
    attention, completion = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    for line, (prompt, answer, mask) in enumerate(sequences):
        start, end = len(prompt), len(prompt) + len(answer)
        ids[line, :end] = torch.tensor(prompt + answer, dtype=torch.long)
        attention[line, :end] = 1
        completion[line, start:end] = torch.tensor(mask, dtype=torch.long)
    return {"input_ids": ids, "attention_mask": attention, "completion_mask": completion}
