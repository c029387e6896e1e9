"""What a model says of sampled answers, token by token, with a prompt computed once for all answers to it.

Several answers to one prompt are the rule here, and prompts of agents are long: what attention keeps of a
prompt is computed once, copied to its answers, and carries their gradients back. Models that keep anything
else of the past than keys and values (linear attention, state spaces) write over it as they go on, which a
gradient does not survive: their answers go through whole, each with its prompt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from policies.training.sampling.generate import SampledAnswer, accepted, left_padded, positions

KEPT = (DynamicLayer, DynamicSlidingWindowLayer)
"""Layers of a cache that only ever append."""

Said = Callable[..., Any]
"""A forward pass: the vectors of the last `keep` columns, and the result with the cache if one is kept."""


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """Vectors that belong to the tokens of some answers, from the state before each token.

    `blocks` are [answers, columns, width] and `tokens` [answers, columns]; side by side they make up every
    answer's tokens, from the first column on, or up to the last where `on_right`.
    """

    blocks: list[torch.Tensor]
    tokens: list[torch.Tensor]
    lengths: list[int]
    on_right: bool

    def numbers(self, make: Callable[..., torch.Tensor], *others: "TokenVectors") -> torch.Tensor:
        """What `make` finds for each token, [answers, longest answer, numbers], aligned on the right and 0
        before an answer begins.

        It is given tokens and vectors of a block, and those of the others, which are of the same answers.
        """
        made = torch.cat(
            [
                make(tokens, block, *(other.blocks[place] for other in others))
                for place, (tokens, block) in enumerate(zip(self.tokens, self.blocks, strict=True))
            ],
            dim=1,
        )
        longest = made.shape[1]
        lengths = torch.tensor(self.lengths, device=made.device)[:, None]
        columns = torch.arange(longest, device=made.device)[None] - (longest - lengths)
        there = (columns >= 0)[..., None]
        if not self.on_right:
            places = columns.clamp(min=0)[..., None].expand(-1, -1, made.shape[2])
            made = made.gather(1, places)
        return torch.where(there, made, 0.0)


class Passes:
    """Passes over answers of one model, under whichever adapter is active. `pad` fills rows up."""

    def __init__(self, model: Any, pad: int) -> None:
        self._model = model
        self.pad = pad
        self._goes_on = True

    def distributions(self, answers: Sequence[SampledAnswer]) -> TokenVectors:
        """Logits of the whole vocabulary before each token of the answers."""

        def said(*, keep: int, position_ids: torch.Tensor, **inputs: Any) -> Any:
            extra = accepted(self._model, position_ids=position_ids, logits_to_keep=keep)
            result = self._model(**inputs, **extra)
            return result.logits[:, -keep:], result

        return self._spread(said, answers)

    def states(self, answers: Sequence[SampledAnswer]) -> TokenVectors:
        """Last hidden states before each token of the answers. No logits are made."""
        decoder = decoder_of(self._model)

        def said(*, keep: int, position_ids: torch.Tensor, **inputs: Any) -> Any:
            result = decoder(**inputs, **accepted(decoder, position_ids=position_ids))
            return result.last_hidden_state[:, -keep:], result

        return self._spread(said, answers)

    def _spread(self, said: Said, answers: Sequence[SampledAnswer]) -> TokenVectors:
        prompts = list(dict.fromkeys(answer.prompt for answer in answers))
        shared = (
            self._shared(said, prompts, answers) if self._goes_on and len(prompts) < len(answers) else None
        )
        return shared or self._whole(said, answers)

    def _whole(self, said: Said, answers: Sequence[SampledAnswer]) -> TokenVectors:
        """Every answer in a row with its prompt, padded on the left."""
        longest = max(len(answer.tokens) for answer in answers)
        ids, mask = left_padded([answer.prompt + answer.tokens for answer in answers], self.pad, self._device)
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions(mask)}
        made, _ = said(keep=longest + 1, use_cache=False, **inputs)
        lengths = [len(answer.tokens) for answer in answers]
        return TokenVectors([made[:, :-1].float()], [ids[:, -longest:]], lengths, on_right=True)

    def _shared(
        self, said: Said, prompts: Sequence[tuple[int, ...]], answers: Sequence[SampledAnswer]
    ) -> TokenVectors | None:
        """The prompts once, then their answers on what was kept of them; None where that does not go on."""
        ids, mask = left_padded(prompts, self.pad, self._device)
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions(mask)}
        made, result = said(keep=1, use_cache=True, **inputs)
        cache = result.past_key_values
        self._goes_on = type(cache) is DynamicCache and all(type(layer) in KEPT for layer in cache.layers)
        if not self._goes_on:
            return None
        places = {prompt: place for place, prompt in enumerate(prompts)}
        rows = torch.tensor([places[answer.prompt] for answer in answers], device=self._device)
        tokens, there = right_padded([answer.tokens for answer in answers], self.pad, self._device)
        blocks, columns = [made[rows].float()], [tokens[:, :1]]
        if tokens.shape[1] > 1:
            cache.batch_select_indices(rows)
            whole = torch.cat([mask[rows], there[:, :-1]], dim=1)
            inputs = {"input_ids": tokens[:, :-1], "attention_mask": whole}
            inputs["position_ids"] = positions(whole)[:, mask.shape[1] :]
            rest, _ = said(keep=tokens.shape[1] - 1, use_cache=True, past_key_values=cache, **inputs)
            blocks, columns = [*blocks, rest.float()], [*columns, tokens[:, 1:]]
        return TokenVectors(blocks, columns, [len(answer.tokens) for answer in answers], on_right=False)

    @property
    def _device(self) -> torch.device:
        return next(self._model.parameters()).device


def decoder_of(model: Any) -> Any:
    """What stands before the model's head."""
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).get_decoder()


def by_prompt(answers: Sequence[SampledAnswer]) -> list[int]:
    """The places of the answers in an order of like lengths in which those to one prompt are together."""

    def key(place: int) -> tuple[int, tuple[int, ...], int]:
        return len(answers[place].prompt), answers[place].prompt, len(answers[place].tokens)

    return sorted(range(len(answers)), key=key)


def right_padded(
    sequences: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, both [sequences, longest]."""
    width = max(map(len, sequences))
    ids = torch.full((len(sequences), width), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
    return ids.to(device), mask.to(device)
