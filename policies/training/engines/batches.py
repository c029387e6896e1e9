"""Examples to batches: rows of a dataset, an order of like lengths, and padded tensors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from policies.training.model.dataset import Example

MEGABATCHES = 50
"""Length buckets are cut from this many batches at a time, so that the order stays mostly random."""
IGNORED = -100
"""A target that no loss counts, as torch and TRL have it."""


@dataclass(frozen=True, slots=True)
class Collator:
    """Rows of the dataset to a batch of whole sequences: all chosen, then all rejected, padded on the right.

    `input_ids`, `attention_mask` and `completion_mask` are [2B, T], as TRL has them.
    """

    pad: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        sequences = [
            (row["prompt_ids"], row[f"{side}_ids"], row[f"{side}_mask"])
            for side in ("chosen", "rejected")
            for row in rows
        ]
        width = max(len(prompt) + len(answer) for prompt, answer, _ in sequences)
        shape = (len(sequences), width)
        ids = torch.full(shape, self.pad, dtype=torch.long)
        attention, completion = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        for line, (prompt, answer, mask) in enumerate(sequences):
            start, end = len(prompt), len(prompt) + len(answer)
            ids[line, :end] = torch.tensor(prompt + answer, dtype=torch.long)
            attention[line, :end] = 1
            completion[line, start:end] = torch.tensor(mask, dtype=torch.long)
        batch = {"input_ids": ids, "attention_mask": attention, "completion_mask": completion}
        return batch | figures(rows)


def figures(rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """What the rows hold beside tokens, one number a pair."""
    return {
        name: torch.tensor([row[name] for row in rows], dtype=torch.float32)
        for name in ("weight", "soft", "ref_chosen_logps", "ref_rejected_logps")
        if name in rows[0]
    }


class LengthBuckets(torch.utils.data.Sampler[int]):
    """A random order whose batches hold sequences of like length; a function of seed and epoch alone."""

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self._lengths = lengths
        self._batch = batch
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The trainer says which epoch begins."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        order = torch.randperm(len(self._lengths), generator=generator).tolist()
        mega = self._batch * MEGABATCHES
        batches: list[list[int]] = []
        for start in range(0, len(order), mega):
            bucket = sorted(order[start : start + mega], key=lambda index: self._lengths[index])
            batches += [bucket[at : at + self._batch] for at in range(0, len(bucket), self._batch)]
        full = [batch for batch in batches if len(batch) == self._batch]
        rest = [batch for batch in batches if len(batch) < self._batch]
        shuffled = torch.randperm(len(full), generator=generator).tolist()
        for batch in [*(full[index] for index in shuffled), *rest]:
            yield from batch


def rows(examples: Sequence[Example]) -> list[dict[str, Any]]:
    """The examples as the dataset's rows. `length` is that of the longer of a pair's sequences, and
    `shared_length` that of its prompt with both answers.
    """
    return [
        {
            "prompt_ids": example.prompt,
            "chosen_ids": example.chosen,
            "chosen_mask": example.chosen_mask,
            "rejected_ids": example.rejected,
            "rejected_mask": example.rejected_mask,
            "weight": example.weight,
            "soft": example.soft,
            "length": example.length,
            "shared_length": len(example.prompt) + len(example.chosen) + len(example.rejected),
        }
        for example in examples
    ]
