"""How both answers of every pair of a batch are scored: TRL's way, or with the prompt computed once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers.utils import ModelOutput

from policies.training.engines.batches import IGNORED, Collator
from policies.training.engines.prefix import Attention, PrefixCollator

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class PairScores:
    """What a model says about the answers of B pairs, token by token: first all chosen, then all rejected.

    `log_probs` and `entropy` (nats) and `counted` are [2B, L], zero where a token does not count.
    """

    log_probs: torch.Tensor
    entropy: torch.Tensor
    counted: torch.Tensor

    @property
    def answers(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of the chosen and of the rejected answers, [B] each, summed over their tokens."""
        chosen, rejected = self.log_probs.sum(dim=1).chunk(2)
        return chosen, rejected

    @property
    def chosen_tokens(self) -> torch.Tensor:
        """How many tokens of each chosen answer count, [B]."""
        return self.counted.chunk(2)[0].sum(dim=1)

    @property
    def mean_entropy(self) -> torch.Tensor:
        """Nats per token that counts."""
        return (self.entropy.detach() * self.counted).sum() / self.counted.sum().clamp(min=1)


class Scoring(Protocol):
    """One way from rows of the dataset to scores. The model must have TRL's fused head (`DPOTrainer`)."""

    @property
    def length(self) -> str:
        """The dataset's column by which batches are of like length."""
        ...

    def collate(self, rows: Sequence[dict[str, Any]]) -> Batch:
        """The rows as tensors."""
        ...

    def score(self, model: Any, batch: Batch) -> PairScores:
        """Scores the batch with whichever adapter of the model is on."""
        ...


class WholeRows:
    """TRL's own computation: each answer is a row of its own, behind its prompt."""

    length = "length"

    def __init__(self, pad: int) -> None:
        self._collate = Collator(pad)

    def collate(self, rows: Sequence[dict[str, Any]]) -> Batch:
        """[2B, T]: all chosen sequences, then all rejected."""
        return self._collate(rows)

    def score(self, model: Any, batch: Batch) -> PairScores:
        """One pass over the prompts for each answer."""
        ids, completion = batch["input_ids"], batch["completion_mask"]
        outputs = model(
            input_ids=ids,
            attention_mask=batch["attention_mask"],
            use_cache=False,
            labels=ids.masked_fill(completion == 0, IGNORED),
            fused_lm_head=True,
        )
        return PairScores(outputs.log_probs, outputs.entropy, completion[:, 1:])


class SharedPrompts:
    """A pair is one row, its prompt computed once; the head sees the outputs that say answers, and no others.

    TRL's fused head stands behind the backbone and takes its outputs as they come: a hook hands it those that
    are asked for. So scale, caps and tiles of the head stay TRL's, and the call goes through the whole model.
    """

    length = "shared_length"

    def __init__(self, pad: int, attention: Attention, backbone: torch.nn.Module) -> None:
        self._collate = PrefixCollator(pad)
        self._attention = attention
        self._backbone = backbone

    def collate(self, rows: Sequence[dict[str, Any]]) -> Batch:
        """[B, T]: prompt, chosen and rejected answer of each pair."""
        return self._collate(rows)

    def score(self, model: Any, batch: Batch) -> PairScores:
        """One pass over the prompts for both answers."""
        asked, targets = batch["asked"], batch["targets"]

        def hand_on(_module: torch.nn.Module, _inputs: Any, output: ModelOutput) -> ModelOutput:
            output.last_hidden_state = _taken(output.last_hidden_state, asked)
            return output

        handle = self._backbone.register_forward_hook(hand_on)
        try:
            outputs = model(
                input_ids=batch["input_ids"],
                attention_mask=self._attention.mask(batch),
                position_ids=batch["position_ids"],
                use_cache=False,
                shift_labels=targets,
                fused_lm_head=True,
            )
        finally:
            handle.remove()
        return PairScores(outputs.log_probs, outputs.entropy, (targets != IGNORED).long())


def _taken(hidden: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """The outputs [2B, L, H] at the positions [2B, L] of the rows [B, T, H]."""
    both = torch.cat(asked.chunk(2), dim=1)
    taken = torch.take_along_dim(hidden, both[:, :, None], dim=1)
    return torch.cat(taken.chunk(2, dim=1))
