"""The two things a plan is made from: how large the model is, and how long the pairs are."""

from collections.abc import Sequence
from statistics import fmean
from typing import Protocol

from pydantic import NonNegativeInt, PositiveInt

from policies.records import Frozen


class Shape(Frozen):
    """A base model with a new adapter on it. Counts are numbers of weights, widths are numbers of values."""

    parameters: PositiveInt
    """Of the base."""
    active: PositiveInt
    """Those that one token passes; fewer than `parameters` in a mixture of experts."""
    trainable: NonNegativeInt
    """Of the adapter."""
    layers: PositiveInt
    hidden: PositiveInt
    feed_forward: PositiveInt
    """Width of the feed-forward part that one token passes, all its experts together."""
    key_value: PositiveInt
    """Width of the keys of one token in one layer, all heads together."""
    vocabulary: PositiveInt


class Tokenised(Protocol):
    """A pair as tokens, as far as its lengths go."""

    @property
    def prompt(self) -> Sequence[int]:
        """Tokens that both sequences begin with."""

    @property
    def chosen(self) -> Sequence[int]:
        """Tokens of the better answer."""

    @property
    def rejected(self) -> Sequence[int]:
        """Tokens of the other."""


class Lengths(Frozen):
    """The tokens of what can be learned from: pairs, or answers by themselves."""

    pairs: NonNegativeInt
    """How many there are, whatever they are."""
    sequences: PositiveInt = 2
    """Of one of them: both answers of a pair, or the one answer."""
    tokens: NonNegativeInt = 0
    """Of all sequences."""
    longest: NonNegativeInt = 0
    """Of the longest sequence."""
    prompt: float = 0.0
    """Mean of a prompt."""
    answer: float = 0.0
    """Mean of an answer, chosen and rejected alike."""


def lengths_of(examples: Sequence[Tokenised]) -> Lengths:
    """Measures the pairs."""
    if not examples:
        return Lengths(pairs=0)
    prompts = [len(example.prompt) for example in examples]
    answers = [(len(example.chosen), len(example.rejected)) for example in examples]
    return Lengths(
        pairs=len(examples),
        tokens=sum(2 * prompt + sum(pair) for prompt, pair in zip(prompts, answers, strict=True)),
        longest=max(prompt + max(pair) for prompt, pair in zip(prompts, answers, strict=True)),
        prompt=fmean(prompts),
        answer=fmean(length for pair in answers for length in pair),
    )


class SingleLengths(Protocol):
    """One answer as tokens, as far as its lengths go."""

    @property
    def prompt(self) -> Sequence[int]:
        """Tokens of the prompt."""

    @property
    def answer(self) -> Sequence[int]:
        """Tokens of the answer."""


def lengths_of_answers(examples: Sequence[SingleLengths]) -> Lengths:
    """Measures answers that are learned from by themselves."""
    if not examples:
        return Lengths(pairs=0, sequences=1)
    both = [(len(example.prompt), len(example.answer)) for example in examples]
    return Lengths(
        pairs=len(examples),
        sequences=1,
        tokens=sum(map(sum, both)),
        longest=max(map(sum, both)),
        prompt=fmean(prompt for prompt, _ in both),
        answer=fmean(answer for _, answer in both),
    )
