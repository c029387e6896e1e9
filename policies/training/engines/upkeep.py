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
        # A bucket is a step of all processes: accelerate deals its batches out to them in turn.
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return MixedBuckets(self.rows, step, self.args.seed)

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
        self.accelerator.wait_for_everyone()  # each process has written its random numbers
        if self.is_world_process_zero():
            savepoints.finish(directory, self._extra_state())

    def _keep(self, sums: dict[str, tuple[torch.Tensor, torch.Tensor | int]]) -> None:
        """Keeps figures, each the mean over all processes: its sum here, and over how many. One that is of
        nothing anywhere is left out. A single wait for the device.
        """
        own = [torch.as_tensor(part, dtype=torch.float32) for both in sums.values() for part in both]
        mine = torch.stack([part.detach().to(self.args.device) for part in own])
        values = self.accelerator.reduce(mine, reduction="sum").tolist()
        for name, total, count in zip(sums, values[::2], values[1::2], strict=True):
            if count:
                self._metrics["train"][name].append(total / count)


class MixedBuckets(torch.utils.data.Sampler[int]):
    """A random order whose batches hold good and bad answers in the proportion of the whole, each kind of
    like length; a function of seed and epoch alone. Which answers a step has does not depend on how it is cut
    into batches.
    """

    def __init__(self, rows: Sequence[Row], step: int, seed: int) -> None:
        self._rows = rows
        self._step = step
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
        mega = self._step * MEGABATCHES
        steps: list[list[int]] = []
        for start in range(0, len(order), mega):
            bucket = self._mixed(order[start : start + mega])
            steps += [bucket[at : at + self._step] for at in range(0, len(bucket), self._step)]
        full = [step for step in steps if len(step) == self._step]
        rest = [step for step in steps if len(step) < self._step]
        for index in torch.randperm(len(full), generator=generator).tolist():
            yield from full[index]
        for step in rest:
            yield from step

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
