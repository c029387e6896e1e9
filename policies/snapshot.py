"""The frozen preferences that one training run sees: a JSONL file named by its own SHA-256.

The first line is the header, every further line one pair. Writing the same pairs gives the same bytes, so the
digest identifies what a run learned from.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, NonNegativeInt, ValidationError

from policies import durable
from policies.records import Frozen, Message, Tokens, canonical, digest

FORMAT: Literal["rlaifd-snapshot-1"] = "rlaifd-snapshot-1"
Source = Literal["judges", "people"]
T = TypeVar("T", bound=Frozen)


class SnapshotError(ValueError):
    """The file is not the snapshot it should be. The message names file, line and what is wrong."""


class Header(Frozen):
    """The first line of the file."""

    format: Literal["rlaifd-snapshot-1"] = FORMAT
    pairs: NonNegativeInt
    policy: str


class Pair(Frozen):
    """One preference: `chosen` is a better continuation of `prompt` than `rejected`.

    `weight` scales the pair's part of the loss; `soft` is the estimated probability that chosen really is the
    better one. `tools` are the definitions the agent had, in the shape of OpenAI's chat requests. Tokens are
    those that were sampled, where they are known. A rejected answer may be `truncated`; a chosen one never
    is.
    """

    preference: int
    prompt: tuple[Message, ...] = Field(min_length=1)
    chosen: tuple[Message, ...] = Field(min_length=1)
    rejected: tuple[Message, ...] = Field(min_length=1)
    weight: float = Field(default=1.0, ge=0)
    soft: float = Field(default=1.0, gt=0.5, le=1)
    tools: tuple[dict[str, Any], ...] = ()
    chosen_tokens: Tokens | None = None
    rejected_tokens: Tokens | None = None
    rejected_truncated: bool = False
    source: Source = "judges"
    """Who said which answer is the better one. A pair that people labelled has `preference` 0."""
    chosen_reward: float | None = Field(default=None, ge=0, le=10)
    """Points that the judge gave, in the verdict that made the preference."""
    rejected_reward: float | None = Field(default=None, ge=0, le=10)

    @property
    def flipped(self) -> "Pair":
        """The same answers with the preference the other way round, as a wrong label would have it."""
        return self.model_copy(
            update={
                "chosen": self.rejected,
                "chosen_tokens": self.rejected_tokens,
                "rejected": self.chosen,
                "rejected_tokens": self.chosen_tokens,
                "rejected_truncated": False,
                "chosen_reward": self.rejected_reward,
                "rejected_reward": self.chosen_reward,
            }
        )


class Snapshot(Frozen):
    """A snapshot as read back. `id` is the file's SHA-256."""

    id: str
    policy: str
    pairs: tuple[Pair, ...]


def encoded(policy: str, pairs: Sequence[Pair]) -> bytes:
    """The file's bytes; their SHA-256 is the snapshot's id."""
    return _joined(_lines(policy, pairs))


def write(directory: Path, policy: str, pairs: Sequence[Pair]) -> tuple[str, Path]:
    """Writes `<directory>/<id>.jsonl` durably and returns (id, path). The same pairs give the same file."""
    return write_lines(directory, _lines(policy, pairs))


def write_lines(directory: Path, lines: Sequence[dict[str, Any]]) -> tuple[str, Path]:
    """The same of any lines."""
    return durable.write_named(directory, _joined(lines), suffix=".jsonl")


def read(path: Path, expected: str | None = None) -> Snapshot:
    """Reads and checks a snapshot. Raises SnapshotError where the file is cut, changed or not one."""
    name, lines = read_lines(path, expected)
    header = parse(Header, path, 1, lines[0])
    pairs = tuple(parse(Pair, path, number, line) for number, line in enumerate(lines[1:], start=2))
    if len(pairs) != header.pairs:
        raise SnapshotError(f"{path}: holds {len(pairs)} pairs where its header says {header.pairs}")
    return Snapshot(id=name, policy=header.policy, pairs=pairs)


def read_lines(path: Path, expected: str | None = None) -> tuple[str, list[bytes]]:
    """The file's digest and its lines, one at least. Raises SnapshotError where it is not as expected."""
    try:
        body = path.read_bytes()
    except OSError as error:
        raise SnapshotError(f"{path}: {error.strerror}") from None
    name = hashlib.sha256(body).hexdigest()
    if expected is not None and name != expected:
        raise SnapshotError(f"{path}: its digest is {name[:12]}, not {expected[:12]}: the file was changed")
    return name, body.splitlines() or [b""]


def asked(prompt: Sequence[Message], tools: Sequence[dict[str, Any]]) -> str:
    """What is asked, as a digest of messages and tools: the same for the same prompt."""
    return digest([[message.model_dump(mode="json") for message in prompt], list(tools)])


def begins_as(path: Path, form: str) -> bool:
    """Whether the file's first line names that format. False also where it cannot be read."""
    try:
        with path.open("rb") as file:
            return f'"format":"{form}"'.encode() in file.readline()
    except OSError:
        return False


def parse(model: type[T], path: Path, number: int, line: bytes) -> T:
    """One line of the file. Raises SnapshotError, which names it."""
    try:
        return model.model_validate(json.loads(line))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise SnapshotError(f"{path}: line {number}: {where}: {problem['msg']}") from None
    except ValueError as error:
        raise SnapshotError(f"{path}: line {number}: {error}") from None


def _lines(policy: str, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    lines = [pair.model_dump(mode="json") for pair in pairs]
    for line in lines:
        # Younger than snapshots that runs are known by: what says nothing leaves their bytes as they were.
        if line["source"] == "judges":
            del line["source"]
    return [Header(pairs=len(pairs), policy=policy).model_dump(mode="json"), *lines]


def _joined(lines: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(canonical(line) + b"\n" for line in lines)
