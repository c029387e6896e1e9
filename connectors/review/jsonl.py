"""Pairs for people and their choices as JSONL: one JSON object a line, UTF-8.

Out: {"pair", "messages": [{"role", "content"}, …], "answer_1", "answer_2", "choice": null, "reason": null}
In:  {"pair", "choice": "1" | "2" | "tie", "reason"?}; the lines that went out may be filled in and sent back
as they are: one whose choice is still null is not answered yet.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from connectors.errors import PoisonError
from policies import durable
from policies.records import Message

Choice = Literal["1", "2", "tie"]
CHOICES: tuple[Choice, ...] = ("1", "2", "tie")
KEYS = {"pair", "messages", "answer_1", "answer_2", "choice", "reason"}
BAD_LINES_TOLD = 20
MOST_BAD = 1000
LONGEST_REASON = 2_000
"""Characters."""
LONGEST_LINE = 64 << 20
"""Bytes: the largest task there is, and what a person adds to it."""


@dataclass(frozen=True, slots=True)
class Task:
    """One pair of answers to compare. `pair` says nothing of where the answers came from."""

    pair: str
    messages: tuple[Message, ...]
    answer_1: str
    answer_2: str


@dataclass(frozen=True, slots=True)
class LabelLine:
    """One person's choice. `line` is its number in the file, from 1."""

    pair: str
    choice: Choice
    reason: str | None
    line: int


@dataclass(frozen=True, slots=True)
class BadLine:
    """What is wrong with a line."""

    line: int
    problem: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}"


@dataclass(slots=True)
class LabelFile:
    """What a file holds: answers, how many lines have no choice yet, and how many are bad, of which the first
    are told.
    """

    answers: list[LabelLine] = field(default_factory=list)
    open: int = 0
    bad: int = 0
    told: list[BadLine] = field(default_factory=list)

    def refuse(self, line: int, problem: str) -> None:
        """Counts a bad line."""
        self.bad += 1
        if len(self.told) < BAD_LINES_TOLD:
            self.told.append(BadLine(line, problem))


def write(path: Path, tasks: Sequence[Task]) -> None:
    """Writes the tasks, the whole file or none of it, for its owner alone: they are the agent's logs.

    Nothing that lies in the directory is followed or written over but the file itself. Raises OSError.
    """
    lines = (json.dumps(_shown(task), ensure_ascii=False) + "\n" for task in tasks)
    durable.write(path, "".join(lines).encode(), mode=0o600)


def read(path: Path) -> LabelFile:
    """What the file holds; empty lines are nothing. Raises OSError.

    After `MOST_BAD` bad lines the rest is not read: this is no file of ours then.
    """
    found = LabelFile()
    seen: dict[str, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        if found.bad == MOST_BAD:
            found.refuse(number, "is not read, nor is what follows: the file is not an export's")
            break
        try:
            answer = _answer(line, number)
        except PoisonError as error:
            found.refuse(number, str(error))
            continue
        if answer is None:
            found.open += 1
        elif answer.pair in seen:
            found.refuse(number, f"pair {answer.pair} is on line {seen[answer.pair]} already")
        else:
            seen[answer.pair] = number
            found.answers.append(answer)
    return found


def _lines(path: Path) -> Iterator[bytes]:
    """Line by line; of one that is too long, as much as shows it."""
    with path.open("rb") as file:
        while line := file.readline(LONGEST_LINE + 1):
            yield line.removesuffix(b"\n")
            while len(line) > LONGEST_LINE and not line.endswith(b"\n"):
                line = file.readline(LONGEST_LINE + 1)
                if not line:
                    return


def _shown(task: Task) -> dict[str, Any]:
    return {
        "pair": task.pair,
        "messages": [_message(message) for message in task.messages],
        "answer_1": task.answer_1,
        "answer_2": task.answer_2,
        "choice": None,
        "reason": None,
    }


def _message(message: Message) -> dict[str, Any]:
    """What people see of a turn: what was said and called, and not what was thought."""
    shown: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        shown["tool_calls"] = [
            {"name": call.name, "arguments": call.arguments} for call in message.tool_calls
        ]
    if message.name is not None:
        shown["name"] = message.name
    return shown


def _object(line: bytes) -> dict[str, Any]:
    """The line's JSON object with known keys, `pair` and `choice` among them. Raises PoisonError."""
    if len(line) > LONGEST_LINE:
        raise PoisonError(f"is longer than {LONGEST_LINE} bytes")
    try:
        raw = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_once)
    except UnicodeDecodeError:
        raise PoisonError("is not UTF-8: save the file as UTF-8") from None
    except RecursionError:
        raise PoisonError("is nested too deeply") from None
    except ValueError as error:
        raise PoisonError(f"is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise PoisonError("is not a JSON object")
    unknown = sorted(set(raw) - KEYS)
    if unknown:
        raise PoisonError(f"has an unknown key {unknown[0]!r}")
    for key in ("pair", "choice"):
        if key not in raw:
            raise PoisonError(f"has no {key!r}")
    return raw


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are written once. Raises PoisonError."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise PoisonError(f"has the key {key[:80]!r} twice")
        found[key] = value
    return found


def _answer(line: bytes, number: int) -> LabelLine | None:
    """The line's answer, None where the choice is null. Raises PoisonError."""
    raw = _object(line)
    pair, choice, reason = raw["pair"], raw["choice"], raw.get("reason")
    if not isinstance(pair, str) or not pair:
        raise PoisonError("`pair` must be the id from the export")
    if choice is None:
        return None
    if choice not in CHOICES:
        raise PoisonError(f'`choice` must be "1", "2" or "tie", not {json.dumps(choice)[:40]}')
    if reason is not None and (not isinstance(reason, str) or not _storable(reason)):
        raise PoisonError("`reason` must be text without NUL or lone surrogates")
    if reason is not None and len(reason) > LONGEST_REASON:
        raise PoisonError(f"`reason` is longer than {LONGEST_REASON} characters")
    return LabelLine(pair, choice, reason or None, number)


def _storable(reason: str) -> bool:
    try:
        reason.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in reason


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is written twice")
    return found
