"""Pairs to tokens: what is trained on, and what is only context.

Of an answer only the assistant's own tokens are trained on; tool results inside it are context, like
everything in the prompt. An answer that was sampled under this very rendering is trained as the tokens that
were sampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from policies.records import Tokens
from policies.snapshot import Pair
from policies.training.model.rendering import Continuation, Rendering, UnrenderableError

LeftOut = Literal["identical", "too_long", "unfit"]
"""Why a pair is not trained on: both answers are the same, it is longer than the recipe or the model takes,
or the chat template cannot show it.
"""


@dataclass(frozen=True, slots=True)
class Example:
    """One pair as tokens. A mask is 1 where the token is the assistant's own."""

    prompt: list[int]
    chosen: list[int]
    chosen_mask: list[int]
    rejected: list[int]
    rejected_mask: list[int]
    weight: float
    soft: float
    chosen_reward: float | None = None
    """Points of the judge's verdict, where there is one."""
    rejected_reward: float | None = None

    @property
    def length(self) -> int:
        """Tokens of the longer of its two sequences."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True, slots=True)
class Prepared:
    """The pairs that can be learned from, and those that cannot: how many of each kind, and one's own
    words.
    """

    examples: list[Example]
    left_out: dict[LeftOut, int]
    words: dict[LeftOut, str] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """All of it in one line."""
        parts = [f"{len(self.examples)} pairs", *(f"{count} {kind}" for kind, count in self.left_out.items())]
        reasons = "; ".join(f"{kind}: {words}" for kind, words in self.words.items())
        return ", ".join(parts) + (f" ({reasons})" if reasons else "")


def prepare(pairs: Sequence[Pair], rendering: Rendering, max_length: int) -> Prepared:
    """Tokenises the pairs; what cannot be trained on is counted out with its reason."""
    prepared = Prepared([], {"identical": 0, "too_long": 0, "unfit": 0})
    for pair in pairs:
        try:
            example = tokenise(pair, rendering)
        except UnrenderableError as error:
            prepared.left_out["unfit"] += 1
            prepared.words.setdefault("unfit", f"preference {pair.preference}: {error}")
            continue
        if pair.chosen == pair.rejected or example.chosen == example.rejected:
            prepared.left_out["identical"] += 1
        elif example.length > max_length:
            prepared.left_out["too_long"] += 1
            prepared.words.setdefault("too_long", f"{example.length} tokens, and {max_length} is the most")
        else:
            prepared.examples.append(example)
    return prepared


def tokenise(pair: Pair, rendering: Rendering) -> Example:
    """One pair as tokens. The prompt is what sampling sees; both answers continue it.

    Raises UnrenderableError where the chat template cannot show the pair, or an answer has no token to learn.
    """
    chosen, rejected = rendering.continuations(pair.prompt, (pair.chosen, pair.rejected), pair.tools)
    good = answer_tokens(rendering, chosen, pair.chosen_tokens, cut=False)
    bad = answer_tokens(rendering, rejected, pair.rejected_tokens, cut=pair.rejected_truncated)
    return Example(
        prompt=rendering.encode(chosen.prompt),
        chosen=good[0],
        chosen_mask=good[1],
        rejected=bad[0],
        rejected_mask=bad[1],
        weight=pair.weight,
        soft=pair.soft,
        chosen_reward=pair.chosen_reward,
        rejected_reward=pair.rejected_reward,
    )


def answer_tokens(
    rendering: Rendering, shown: Continuation, sampled: Tokens | None, *, cut: bool
) -> tuple[list[int], list[int]]:
    """Tokens and mask of an answer. `cut`: it was cut off, so that nothing says where it would have ended.

    Raises UnrenderableError where there is no token to learn.
    """
    if sampled is not None and sampled.rendering == rendering.digest and sampled.ids:
        return list(sampled.ids), [1] * len(sampled.ids)
    ids: list[int] = []
    mask: list[int] = []
    for number, segment in enumerate(shown.segments):
        tokens = rendering.encode_after(segment.text)
        last = number == len(shown.segments) - 1
        own = _own(tokens, rendering, cut=cut and last) if segment.own else 0
        ids += tokens
        mask += [1] * own + [0] * (len(tokens) - own)
    if not any(mask):
        raise UnrenderableError("the answer is empty: it has no token to learn")
    return ids, mask


def _own(tokens: Sequence[int], rendering: Rendering, *, cut: bool) -> int:
    """How many of an answer's tokens are trained on: up to its end token, and without that where it was cut.

    What templates write after the end token (a newline, the end of the whole text) is nothing that the model
    ever says. Raises UnrenderableError where more of the answer stands there: nobody would have sampled it.
    """
    end = next((index for index, token in enumerate(tokens) if token in rendering.ends), None)
    if end is None:
        return len(tokens)
    if rendering.tokenizer.decode([token for token in tokens[end:] if token not in rendering.ends]).strip():
        raise UnrenderableError("the template ends the turn in the middle of this answer")
    return end if cut else end + 1
