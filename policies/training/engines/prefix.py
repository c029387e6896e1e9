"""A pair as one row [prompt | chosen | rejected], in which the prompt is computed once for both answers.

Both answers go on at the prompt's length, and the rejected one sees prompt and itself alone: every token is
computed from what it would be computed from in a row of its own (Wang and Hegde 2024, arXiv:2410.20305). The
model needs nothing for it but to take position ids and a mask of what attends to what.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from policies.training.engines.batches import IGNORED, figures

Kind = Literal["full_attention", "sliding_attention"]
"""How far a layer looks back, as model configurations call it."""
KINDS: tuple[Kind, ...] = ("full_attention", "sliding_attention")
PROMPT, CHOSEN, REJECTED = 0, 1, 2
"""What a token of a row belongs to. Padding counts as prompt: nothing comes after it to see it."""


@dataclass(frozen=True, slots=True)
class PrefixCollator:
    """Rows of the dataset to a batch of B pairs, padded on the right to T tokens.

    `input_ids`, `position_ids` and `segments` are [B, T]. `asked` [2B, L] are the positions in a row whose
    outputs say an answer's tokens, and `targets` [2B, L] those tokens; first all chosen answers, then all
    rejected. The first tokens of both are said where the prompt ends; without a prompt nothing says
    them. A target that does not count is IGNORED.
    """

    pad: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        pairs, width = len(rows), max(row["shared_length"] for row in rows)
        longest = max(len(row[f"{side}_ids"]) for row in rows for side in ("chosen", "rejected"))
        ids = torch.full((pairs, width), self.pad, dtype=torch.long)
        positions, segments = torch.zeros_like(ids), torch.full_like(ids, PROMPT)
        asked = torch.zeros((2, pairs, longest), dtype=torch.long)
        targets = torch.full((2, pairs, longest), IGNORED, dtype=torch.long)
        for line, row in enumerate(rows):
            prompt = len(row["prompt_ids"])
            ids[line, :prompt] = torch.tensor(row["prompt_ids"], dtype=torch.long)
            positions[line, :prompt] = torch.arange(prompt)
            start = prompt
            for side, name in enumerate(("chosen", "rejected")):
                answer = torch.tensor(row[f"{name}_ids"], dtype=torch.long)
                own = torch.tensor(row[f"{name}_mask"], dtype=torch.bool)
                size, end = len(answer), start + len(answer)
                ids[line, start:end] = answer
                positions[line, start:end] = torch.arange(prompt, prompt + size)
                segments[line, start:end] = CHOSEN + side
                asked[side, line, :size] = torch.arange(start - 1, end - 1)
                asked[side, line, 0] = max(prompt - 1, 0)
                targets[side, line, :size] = answer.masked_fill(~own, IGNORED)
                if prompt == 0:
                    targets[side, line, 0] = IGNORED
                start = end
        batch = {"input_ids": ids, "position_ids": positions, "segments": segments}
        batch |= {"asked": asked.flatten(0, 1), "targets": targets.flatten(0, 1)}
        return batch | figures(rows)


@dataclass(frozen=True, slots=True)
class Attention:
    """How a model takes a mask: for which kinds of layers, and in which form.

    `additive`: as numbers to add to the scores, in the model's own type; else as truth values.
    """

    kinds: tuple[Kind, ...]
    window: int | None
    additive: torch.dtype | None

    def mask(self, batch: dict[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """[B, 1, T, T], query before key: one for all layers, or one for each kind of layer by its name."""
        found = {kind: self._form(seen(batch, self._reach(kind))) for kind in self.kinds}
        return found if len(found) > 1 else found[self.kinds[0]]

    def _reach(self, kind: Kind) -> int | None:
        return self.window if kind == "sliding_attention" else None

    def _form(self, allowed: torch.Tensor) -> torch.Tensor:
        if self.additive is None:
            return allowed[:, None]
        zero = torch.zeros((), dtype=self.additive, device=allowed.device)
        return torch.where(allowed, zero, torch.finfo(self.additive).min)[:, None]


def seen(batch: dict[str, torch.Tensor], window: int | None) -> torch.Tensor:
    """Which tokens each token sees, [B, T, T]. `window`: how many positions, counting its own; None: all.

    Every token sees itself, padding too: a row of a mask without a key would be no number.
    """
    segments, positions = batch["segments"], batch["position_ids"]
    width = segments.shape[1]
    causal = torch.ones((width, width), dtype=torch.bool, device=segments.device).tril()
    apart = (segments == REJECTED)[:, :, None] & (segments == CHOSEN)[:, None, :]
    allowed = causal & ~apart
    if window is not None:
        allowed &= positions[:, None, :] > positions[:, :, None] - window
    return allowed


def attention_of(model: Any) -> Attention | str:
    """What the configuration says about the mask that the model takes, or why it takes none.

    That a configuration says so proves nothing: whoever uses it compares (`sharing.probe`).
    """
    config = model.config.get_text_config()
    how = getattr(config, "_attn_implementation", None)
    if how not in {"sdpa", "eager"}:
        return f"attention of kind {how} takes no mask of its own"
    window = getattr(config, "sliding_window", None)
    told = getattr(config, "layer_types", None)
    if not told:
        told = ["full_attention" if window is None else "sliding_attention"]
    kinds = tuple(kind for kind in KINDS if kind in told)
    unknown = sorted({str(kind) for kind in told} - set(KINDS))
    if unknown:
        return f"layers of kind {unknown[0]} see a row in a way of their own"
    if "sliding_attention" in kinds and window is None:
        return "the configuration has sliding attention and no window"
    # Of truth values torch makes numbers anew in every layer, and on a CPU it keeps them for the gradients.
    numbers = how == "eager" or model.device.type == "cpu"
    return Attention(kinds, window, model.dtype if numbers else None)
