"""Pairs for people and their choices as JSONL: one JSON object a line, UTF-8.

Out: {"pair", "messages": [{"role", "content"}, …], "answer_1", "answer_2", "choice": null, "reason": null}
In:  {"pair", "choice": "1" | "2" | "tie", "reason"?}; the lines that went out may be filled in and sent back
as they are: one whose choice is still null is not answered yet.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from connectors.errors import PoisonError
from policies.records import Message

Choice = Literal["1", "2", "tie"]
CHOICES: tuple[Choice, ...] = ("1", "2", "tie")
LONGEST = 64 << 20
"""Bytes of a line: the largest record with two answers fits."""
LONGEST_REASON = 10_000
MOST_BAD = 1000
KEYS = {"pair", "messages", "answer_1", "answer_2", "choice", "reason"}


@dataclass(frozen=True, slots=True)
class Task:
    """One pair of answers to compare. `pair` says nothing of where the answers came from."""

    pair: str
    messages: tuple[Message, ...]
    answer_1: str
    answer_2: str


@dataclass(frozen=True, slots=True)
class Answer:
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


def write(path: Path, tasks: Sequence[Task]) -> None:
    """Writes the tasks, the whole file or none of it, for its owner alone: they are the agent's logs.

    Nothing that lies in the directory is followed or written over but the file itself. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(_shown(task), ensure_ascii=False) + "\n" for task in tasks)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read(path: Path) -> tuple[list[Answer], list[BadLine]]:
    """The answers, and the lines that are none. Unanswered and empty lines are neither. Raises OSError.

    After `MOST_BAD` bad lines the rest is not read: this is no file of ours then. A line is read up to
    `LONGEST` bytes.
    """
    answers: list[Answer] = []
    bad: list[BadLine] = []
    seen: dict[str, int] = {}
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST + 1), b""), start=1):
            if len(bad) == MOST_BAD or len(line) > LONGEST:
                bad.append(BadLine(number, "is not read, nor is what follows: the file is not an export's"))
                break
            try:
                answer = _answer(line, number) if line.strip() else None
            except PoisonError as error:
                bad.append(BadLine(number, str(error)))
                continue
            if answer is not None and answer.pair in seen:
                bad.append(BadLine(number, f"pair {answer.pair} is on line {seen[answer.pair]} already"))
            elif answer is not None:
                seen[answer.pair] = number
                answers.append(answer)
    return answers, bad


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
    try:
        raw = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_unique)
    except RecursionError:
        raise PoisonError("is nested too deeply") from None
    except UnicodeDecodeError:
        raise PoisonError("is not UTF-8") from None
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


def _answer(line: bytes, number: int) -> Answer | None:
    """The line's answer, None where the choice is null. Raises PoisonError."""
    raw = _object(line)
    pair, choice, reason = raw["pair"], raw["choice"], raw.get("reason")
    if not isinstance(pair, str) or not pair:
        raise PoisonError("`pair` must be the id from the export")
    if choice is None:
        return None
    if choice not in CHOICES:
        raise PoisonError(f'`choice` must be "1", "2" or "tie", not {json.dumps(choice)[:40]}')
    if reason is not None and not _storable(reason):
        raise PoisonError(
            f"`reason` must be text of at most {LONGEST_REASON} characters, without NUL or lone surrogates"
        )
    return Answer(pair, choice, reason or None, number)


def _storable(reason: object) -> bool:
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON:
        return False
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
