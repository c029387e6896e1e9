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
from policies.training.engines.scoring import Batch, Scores, Scoring, SharedPrompts, WholeRows

PROBED = 4
"""Pairs of a probe."""
LIMIT = 1e-4
"""Nats by which a token's two log-probabilities may differ, where TRL's own way does not differ by more."""
NOISE = 4.0
"""Times the difference that padding alone makes to TRL's own way: what rounding explains."""
ATTENTION_SHARE = 6
"""A token's linear layers cost as much as attention to this many times the hidden size of tokens: twelve
squares of it against two products per token seen.
"""

Score = Callable[[Scoring, Batch], Scores]
"""Scores a batch without gradients, as the run will."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """How a run's pairs are scored, and the reason in words for a person."""

    scoring: Scoring
    shared: bool
    reason: str


def decide(
    model: Any, backbone: torch.nn.Module, rows: Sequence[dict[str, Any]], pad: int, batch: int, score: Score
) -> Sharing:
    """Shares the prompts where that saves work and changes nothing.

    `model` is the base model with TRL's fused head, `backbone` what stands before the head, `batch` the most
    pairs that may be scored at a time.
    """
    whole = WholeRows(pad)
    attention = attention_of(model)
    if isinstance(attention, str):
        return Sharing(whole, shared=False, reason=f"prompts are not shared: {attention}")
    gain = saved(rows, model.config.get_text_config().hidden_size)
    if gain <= 1:
        return Sharing(
            whole, shared=False, reason="prompts are not shared: beside such answers they are short"
        )
    shared = SharedPrompts(pad, attention, backbone)
    drawn = draw(rows)
    for start in range(0, len(drawn), batch):
        problem = probe(shared, whole, drawn[start : start + batch], score)
        if problem is not None:
            return Sharing(whole, shared=False, reason=f"prompts are not shared: {problem}")
    return Sharing(
        shared,
        shared=True,
        reason=f"each prompt is computed once for both answers, {gain:.2f} times less work",
    )


def saved(rows: Sequence[dict[str, Any]], hidden: int) -> float:
    """How many times the work of shared rows that of whole ones is: linear layers, and attention by squares."""

    def work(tokens: int) -> int:
        return tokens * (ATTENTION_SHARE * hidden + tokens)

    whole = sum(
        work(len(row["prompt_ids"]) + len(row[f"{side}_ids"]))
        for row in rows
        for side in ("chosen", "rejected")
    )
    return whole / sum(work(row["shared_length"]) for row in rows)


def draw(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A few rows from the longest to the shortest: the same ones for the same rows."""
    order = sorted(rows, key=lambda row: (row["length"], row["shared_length"]), reverse=True)
    most = min(PROBED, len(order))
    return [order[number * (len(order) - 1) // max(most - 1, 1)] for number in range(most)]


def probe(shared: Scoring, whole: Scoring, rows: Sequence[dict[str, Any]], score: Score) -> str | None:
    """Why the two ways of scoring are not the same for these rows, or None."""
    expected = _tokens(whole, rows, score)
    try:
        found = _tokens(shared, rows, score)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a model may refuse a mask with anything: that is the answer
        return f"the model takes no mask of its own ({type(error).__name__}: {_line(error)})"
    apart = (found - expected).abs().max().item()
    if apart <= LIMIT:
        return None
    noise = (_alone(whole, rows, score) - expected).abs().max().item()
    if apart <= NOISE * noise:
        return None
    return f"the log-probability of a token would be {apart:.2g} nats off"


def _tokens(scoring: Scoring, rows: Sequence[dict[str, Any]], score: Score) -> torch.Tensor:
    """Log-probabilities of all tokens that count, of all chosen answers and then of all rejected."""
    scores = score(scoring, scoring.collate(rows))
    return scores.log_probs[scores.counted.bool()].float()


def _alone(scoring: Scoring, rows: Sequence[dict[str, Any]], score: Score) -> torch.Tensor:
    """The same from batches of one sequence, without padding: a pair whose answers are the same is one."""
    found = []
    for side in ("chosen", "rejected"):
        for row in rows:
            twice = row | {
                f"{name}_{part}": row[f"{side}_{part}"]
                for name in ("chosen", "rejected")
                for part in ("ids", "mask")
            }
            tokens = _tokens(scoring, [twice], score)
            found.append(tokens[: len(tokens) // 2])
    return torch.cat(found)


def _line(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return said if len(said) <= 120 else f"{said[:120]}…"
