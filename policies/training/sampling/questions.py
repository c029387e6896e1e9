"""Prompts made ready to be sampled: tokens, or the reason why one is not asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from policies.training.jobs import Messages, Tools
from policies.training.model.rendering import Rendering, UnrenderableError


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt's tokens, ending where the answer begins, and the tools that it offers."""

    ids: tuple[int, ...]
    tools: Tools = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A prompt that has no answer, and why: the template's or the model's own words."""

    reason: str


def questions(
    rendering: Rendering, prompts: Sequence[Messages], tools: Sequence[Tools], positions: int | None
) -> list[Question | Refused]:
    """The prompts in their order. `tools` are each prompt's, or empty: none for any.

    `positions` is how many tokens the model takes (None: it does not say). A prompt that leaves no room for
    an answer is refused: served, it would be refused as well.
    """
    offered = tools or [()] * len(prompts)
    return [
        _question(rendering, prompt, each, positions) for prompt, each in zip(prompts, offered, strict=True)
    ]


def positions_of(config: Any, tokenizer: Any) -> int | None:
    """The most tokens of a sequence, by the model or its tokenizer, whichever is less; None: no limit."""
    text = config.get_text_config()
    limits = (
        getattr(text, "max_position_embeddings", None),
        getattr(text, "n_positions", None),
        getattr(tokenizer, "model_max_length", None),
    )
    return min((int(limit) for limit in limits if limit and 0 < limit < UNSET), default=None)


UNSET = 1e9
"""Tokenizers say a number beyond it where they know of no limit."""


def _question(
    rendering: Rendering, prompt: Messages, tools: Tools, positions: int | None
) -> Question | Refused:
    try:
        ids = rendering.encode(rendering.ask(prompt, tools))
    except UnrenderableError as error:
        return Refused(str(error))
    if not ids:
        return Refused("the prompt renders to nothing")
    if positions is not None and len(ids) >= positions:
        return Refused(f"the prompt has {len(ids)} tokens, and the model takes {positions} with the answer")
    return Question(tuple(ids), tools)
