"""What is said between a resident agent and whoever started it. Free of torch, so that anyone may import it.

One JSON object a line each way: `Ask` in, `Progress`, `Ready`, `Answers` or `Failed` out.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from policies.records import Frozen

Lesson = tuple[str, str]
"""A prompt and the answer to learn."""


class TinySpec(Frozen):
    """Shape and supervised training of a tiny Llama."""

    hidden: PositiveInt = 128
    layers: PositiveInt = 2
    heads: PositiveInt = 8
    positions: PositiveInt = 256
    vocabulary: PositiveInt = 600
    steps: PositiveInt = 500
    batch_size: PositiveInt = 16
    learning_rate: PositiveFloat = 8e-3


class ResidentJob(Frozen):
    """What the resident agent is made from and where it looks for its adapter."""

    base: Path
    """Where the base model is written."""
    serving: Path
    """The directory target: its `current.json` names the adapter to serve, `current` is a link to it."""
    lessons: Path
    """A JSON list of [prompt, answer]."""
    spec: TinySpec = TinySpec()
    seed: int = 0
    threads: PositiveInt = 1
    temperature: PositiveFloat = 1.0
    max_new_tokens: PositiveInt = 64
    batch_size: PositiveInt = 64


class ToyAsk(Frozen):
    """Prompts to answer."""

    id: NonNegativeInt
    prompts: tuple[str, ...] = Field(min_length=1)
    seed: int = 0


class ToyStep(Frozen):
    """A step of the supervised training is done."""

    event: Literal["trained"] = "trained"
    step: PositiveInt
    steps: PositiveInt
    loss: float


class ToyReady(Frozen):
    """The base model is written; questions are welcome."""

    event: Literal["ready"] = "ready"
    parameters: PositiveInt


class ToyAnswers(Frozen):
    """One answer per prompt, and the adapter that gave them (None: the base model)."""

    event: Literal["answers"] = "answers"
    id: NonNegativeInt
    answers: tuple[str, ...]
    adapter: str | None


class ToyFailed(Frozen):
    """The question could not be answered; the agent goes on."""

    event: Literal["failed"] = "failed"
    id: NonNegativeInt
    reason: str


Said = Annotated[ToyStep | ToyReady | ToyAnswers | ToyFailed, Field(discriminator="event")]
