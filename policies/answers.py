"""Answers to learn from one by one: a JSONL file named by its own SHA-256, as a snapshot of pairs is.

The first line is the header, every further line one answer that was found good or bad by itself. Methods that
take single answers take a snapshot of pairs as well: `of_pairs` says what it is to them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, model_validator

from policies import snapshot
from policies.records import Frozen, Message, Tokens
from policies.snapshot import Pair, SnapshotError

FORMAT: Literal["rlaifd-answers-1"] = "rlaifd-answers-1"
Kind = Literal["best", "correction", "thumb", "rating", "behaviour", "score"]
"""What was found out by: the best of several by their rewards, a person's own text, a user's thumb, rating or
behaviour, or a judge's score.
"""


class AnswersHeader(Frozen):
    """The first line of the file."""

    format: Literal["rlaifd-answers-1"] = FORMAT
    answers: NonNegativeInt
    policy: str


class Answer(Frozen):
    """One answer to `prompt`, good or bad. `weight` scales its part of the loss.

    `candidate` is its number in the store, 0 where it has none. `reward` (0 to 10) is a judge's, where one is
    known. A good answer is a target, and never `truncated`: its end, in the middle of a sentence, would be
    taught. Tokens are those that were sampled, where they are known.
    """

    kind: Kind
    candidate: NonNegativeInt = 0
    prompt: tuple[Message, ...] = Field(min_length=1)
    answer: tuple[Message, ...] = Field(min_length=1)
    good: bool = True
    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    reward: float | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tokens: Tokens | None = None
    truncated: bool = False

    @model_validator(mode="after")
    def _whole(self) -> "Answer":
        if self.good and self.truncated:
            raise ValueError("an answer that was cut off is no target")
        return self

    @property
    def asked(self) -> str:
        """What is asked, as a digest of messages and tools: the same for the same prompt."""
        return snapshot.asked(self.prompt, self.tools)


class Answers(Frozen):
    """A file as read back. `id` is its SHA-256."""

    id: str
    policy: str
    answers: tuple[Answer, ...]


def write(directory: Path, policy: str, answers: Sequence[Answer]) -> tuple[str, Path]:
    """Writes `<directory>/<id>.jsonl` durably and returns (id, path). The same answers give the same file."""
    header = AnswersHeader(answers=len(answers), policy=policy)
    return snapshot.write_lines(directory, [each.model_dump(mode="json") for each in (header, *answers)])


def read(path: Path, expected: str | None = None) -> Answers:
    """Reads and checks a file of answers, or the answers of a snapshot of pairs.

    Raises SnapshotError where the file is cut, changed or neither.
    """
    if snapshot.begins_as(path, snapshot.FORMAT):
        pairs = snapshot.read(path, expected)
        return Answers(id=pairs.id, policy=pairs.policy, answers=tuple(of_pairs(pairs.pairs)))
    name, lines = snapshot.read_lines(path, expected)
    header = snapshot.parse(AnswersHeader, path, 1, lines[0])
    found = tuple(snapshot.parse(Answer, path, at, line) for at, line in enumerate(lines[1:], start=2))
    if len(found) != header.answers:
        raise SnapshotError(f"{path}: holds {len(found)} answers where its header says {header.answers}")
    return Answers(id=name, policy=header.policy, answers=found)


def holds_answers(path: Path) -> bool:
    """Whether the file begins as one of answers. False also where it cannot be read."""
    return snapshot.begins_as(path, FORMAT)


def of_pairs(pairs: Sequence[Pair]) -> list[Answer]:
    """Both answers of every pair by themselves: what was chosen is good, what was rejected is bad."""
    found = []
    for pair in pairs:
        common = {"prompt": pair.prompt, "tools": pair.tools, "weight": pair.weight}
        found.append(Answer(kind="best", answer=pair.chosen, tokens=pair.chosen_tokens, **common))
        found.append(
            Answer(
                kind="score",
                answer=pair.rejected,
                good=False,
                tokens=pair.rejected_tokens,
                truncated=pair.rejected_truncated,
                **common,
            )
        )
    return found


def best(answers: Sequence[Answer]) -> list[Answer]:
    """The good ones, one a prompt: a person's text first, then the highest reward, then the first one."""
    chosen: dict[str, Answer] = {}
    for answer in answers:
        if not answer.good:
            continue
        before = chosen.get(answer.asked)
        if before is None or rank(answer) > rank(before):
            chosen[answer.asked] = answer
    return list(chosen.values())


def rank(answer: Answer) -> tuple[bool, float]:
    """By which the better of two targets is told: a person's text first, then the reward."""
    return answer.kind == "correction", -1.0 if answer.reward is None else answer.reward
