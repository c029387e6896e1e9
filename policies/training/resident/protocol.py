"""What is said between a resident judge and the daemon. Free of torch, so that anyone may import it.

One JSON object a line each way: `Ask` in; out first `Ready` or `Failed`, then `Scores` or `Failed` for each
`Ask`.
"""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter

from policies.records import Frozen, Message, Tokens


class JudgeJob(Frozen):
    """What a resident judge is: a reward model in its directory, on its base model."""

    base_model: str
    revision: str | None = None
    reward: Path
    pessimism: float = Field(default=0.0, ge=0)
    """Standard deviations over the folds that are taken from their mean."""
    device: Literal["auto", "cuda", "cpu"] = "cpu"
    bf16: Literal["auto", "off"] = "auto"
    threads: PositiveInt = 1
    day: date | None = None
    """The date that chat templates may write into the system message; None: the day of the start."""


class LoggedAnswer(Frozen):
    """A prompt with one answer to it, as it was logged or sampled."""

    prompt: tuple[Message, ...]
    answer: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    tokens: Tokens | None = None


class JudgeAsk(Frozen):
    """Answers to score."""

    id: NonNegativeInt
    answers: tuple[LoggedAnswer, ...] = Field(min_length=1)


class JudgeReady(Frozen):
    """The models are loaded; questions are welcome."""

    event: Literal["ready"] = "ready"


class JudgeScores(Frozen):
    """One reward an answer, 0 to 10, in the order of the question; None where there is none, and why is in
    `refused`, by its index.
    """

    event: Literal["scores"] = "scores"
    id: NonNegativeInt
    rewards: tuple[float | None, ...]
    refused: dict[int, str] = Field(default_factory=dict)


class JudgeFailed(Frozen):
    """The question could not be answered, and the judge goes on; without a question, it cannot begin."""

    event: Literal["failed"] = "failed"
    id: NonNegativeInt | None = None
    reason: str


SAID: TypeAdapter[JudgeReady | JudgeScores | JudgeFailed] = TypeAdapter(
    Annotated[JudgeReady | JudgeScores | JudgeFailed, Field(discriminator="event")]
)
