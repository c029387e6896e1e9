"""Whether the pairs of a run share their prompts: decided by what the model says, not by its name.

A model that ignores the mask or the positions, or that carries a state from token to token, says other things
of the same answers. So a few of the run's own pairs are scored both ways before its first step, the longest
among them: a window, or any other way of looking back that matters to this run, shows there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from policies.training.engines.prefix import attention_of
from policies.training.engines.scoring import Batch, PairScores, Scoring, SharedPrompts, WholeRows

PROBED = 4
"""Pairs of a probe."""
PROBED_AT_A_TIME = 2
"""Enough for one to be padded, and few of them as long as the longest."""
LIMIT = 1e-4
"""Nats by which a token's two log-probabilities may differ in float32."""
ROUNDING = 4
"""Units in the last place of the largest log-probability by which they may differ where that is more: in
bfloat16. SmolLM2-135M differs there by 0.19 nats of 0.44, and by 2.4 or more with a wrong mask or positions.
"""
ATTENTION_SHARE = 6
"""A token's linear layers cost as much as attention to this many times the hidden size of tokens: twelve
squares of it against two products per token seen.
"""

SIDES = ("chosen", "rejected")

Row = dict[str, Any]
Score = Callable[[Scoring, Batch], PairScores]
"""Scores a batch without gradients, as the run will."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """How a run's pairs are scored, and the reason in words for a person."""

    scoring: Scoring
    shared: bool
    reason: str


def decide(
    model: Any, backbone: torch.nn.Module, rows: Sequence[Row], score: Score, *, pad: int, batch: int
) -> Sharing:
    """Shares the prompts where that saves work and changes nothing.

    `model` is the base model with TRL's fused head, `backbone` what stands before the head, `batch` the most
    pairs that may be scored at a time.
    """
    whole = WholeRows(pad)
    attention = attention_of(model)
    if isinstance(attention, str):
        return _not_shared(whole, attention)
    gain = saved(rows, model.config.get_text_config().hidden_size)
    if gain <= 1:
        return _not_shared(whole, "they are short beside their answers")
    shared = SharedPrompts(pad, attention, backbone)
    drawn, size, unit = draw(rows), min(batch, PROBED_AT_A_TIME), torch.finfo(model.dtype).eps
    for start in range(0, len(drawn), size):
        problem = probe(shared, whole, drawn[start : start + size], score, unit=unit)
        if problem is not None:
            return _not_shared(whole, problem)
    reason = f"each prompt is computed once for both answers: {1 - 1 / gain:.0%} less work"
    return Sharing(shared, shared=True, reason=reason)


def _not_shared(whole: Scoring, why: str) -> Sharing:
    return Sharing(whole, shared=False, reason=f"prompts are not shared: {why}")


def saved(rows: Sequence[Row], hidden: int) -> float:
    """The work of whole rows over that of shared ones: linear layers by tokens, attention by their squares.

    Answers that are long beside their prompt cost more in one row, which sees a square of both.
    """

    def work(tokens: int) -> int:
        return tokens * (ATTENTION_SHARE * hidden + tokens)

    whole = sum(work(len(row["prompt_ids"]) + len(row[f"{side}_ids"])) for row in rows for side in SIDES)
    return whole / sum(work(row["shared_length"]) for row in rows)


def draw(rows: Sequence[Row]) -> list[Row]:
    """A few rows from the longest to the shortest: the same ones for the same rows."""
    order = sorted(rows, key=lambda row: (row["length"], row["shared_length"]), reverse=True)
    most = min(PROBED, len(order))
    return [order[number * (len(order) - 1) // max(most - 1, 1)] for number in range(most)]


def probe(shared: Scoring, whole: Scoring, rows: Sequence[Row], score: Score, *, unit: float) -> str | None:
    """Why the two ways of scoring are not the same for these rows, or None. `unit` is the smallest relative
    step between the numbers that the model computes with.
    """
    expected = _tokens(whole, rows, score)
    try:
        found = _tokens(shared, rows, score)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a model may refuse a mask with anything: that is the answer
        return f"the model takes no mask of its own ({type(error).__name__}: {_line(error)})"
    apart, largest = (found - expected).abs().max().item(), expected.abs().max().item()
    if apart <= max(LIMIT, ROUNDING * unit * largest):
        return None
    return f"the log-probability of a token would be {apart:.2g} nats off"


def _tokens(scoring: Scoring, rows: Sequence[Row], score: Score) -> torch.Tensor:
    """Log-probabilities of all tokens that count, of all chosen answers and then of all rejected."""
    scores = score(scoring, scoring.collate(rows))
    return scores.log_probs[scores.counted.bool()].float()


def _line(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return said if len(said) <= 120 else f"{said[:120]}…"
