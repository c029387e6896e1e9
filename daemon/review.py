"""Review: pairs go out to people, labels come back.

People see the prompt and two answers: no verdict, no score, no origin. Which answer comes first is decided by
a hash that only the daemon turns back.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import Connection

from connectors.review import jsonl
from connectors.review.jsonl import Answer, BadLine, Choice, Task
from daemon.clock import Clock
from daemon.errors import RlaifdError, UsageError
from daemon.log import get
from daemon.store import labels, ledger
from daemon.store.labels import Imported, Label, Pair
from daemon.store.store import Store
from policies.records import Message

BAD_LINES_TOLD = 20
REVIEWER_LENGTH = 200

log = get("review")


class Review:
    """The pairs that wait for people, as tasks, and people's answers, as labels."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def tasks(self, *, reviewer: str | None = None, limit: int | None = None) -> list[Task]:
        """The audit pairs as tasks, oldest trace first; without those that the reviewer labelled already."""

        def work(connection: Connection) -> list[Task]:
            done = set(labels.labelled_by(connection, reviewer)) if reviewer else set()
            wanted = [pair for pair in labels.pairs(connection) if (pair.low, pair.high) not in done]
            return [_task(connection, pair) for pair in wanted[:limit]]

        return self._store.read(work)

    def export(self, path: Path, *, reviewer: str | None = None, limit: int | None = None) -> int:
        """Writes the tasks to a JSONL file; answers how many. Raises RlaifdError when it cannot."""
        tasks = self.tasks(reviewer=reviewer, limit=limit)
        try:
            jsonl.write(path, tasks)
        except OSError as error:
            raise RlaifdError(f"{path}: {error.strerror}") from error
        return len(tasks)

    def load(self, path: Path, *, reviewer: str) -> int:
        """Reads labels from a JSONL file and stores all of them, or none if a single line is bad.

        Answers how many labels the file holds. Raises RlaifdError with one line for each bad line.
        """
        try:
            answers, bad = jsonl.read(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise RlaifdError(f"{path}: {error.strerror}") from error
        imported = self._store_answers(answers, bad, place=str(path), reviewer=reviewer, file=digest)
        return imported.new + imported.changed + imported.unchanged

    def label(self, pair: str, choice: Choice, *, reviewer: str, reason: str | None = None) -> Imported:
        """Stores one label, given on a page. Raises RlaifdError for an unknown pair."""
        answer = Answer(pair, choice, reason or None, 1)
        return self._store_answers([answer], [], place="the page", reviewer=reviewer, file=None)

    def _store_answers(
        self, answers: list[Answer], bad: list[BadLine], *, place: str, reviewer: str, file: str | None
    ) -> Imported:
        if not reviewer.strip() or len(reviewer) > REVIEWER_LENGTH or not reviewer.isprintable():
            raise UsageError("the reviewer must be a name: labels count for people, one by one")

        def work(connection: Connection) -> Imported:
            known = {pair_id(pair): pair for pair in labels.pairs(connection)}
            unknown = [
                BadLine(answer.line, f"pair {answer.pair} is not one that was exported")
                for answer in answers
                if answer.pair not in known
            ]
            if bad or unknown:
                raise RlaifdError(_told(place, sorted([*bad, *unknown], key=lambda one: one.line)))
            wanted = [
                Label(known[answer.pair], _turned(known[answer.pair], answer.choice), answer.reason)
                for answer in answers
            ]
            now = self._clock.now()
            imported = labels.upsert(connection, wanted, reviewer=reviewer, now=now)
            if imported.new or imported.changed:
                detail = {"new": imported.new, "changed": imported.changed, "file": file}
                ledger.append(
                    connection,
                    at=now,
                    actor=reviewer,
                    action="label",
                    subject=reviewer,
                    reason=f"labels from {'a file' if file else 'the page'}",
                    detail=detail,
                )
            return imported

        imported = self._store.write(work)
        log.info(
            "labels_stored",
            reviewer=reviewer,
            new=imported.new,
            changed=imported.changed,
            unchanged=imported.unchanged,
        )
        return imported


def pair_id(pair: Pair) -> str:
    """A pair's name for people. It says nothing of which answer is which."""
    return _hash("pair", pair)[:16]


def swapped(pair: Pair) -> bool:
    """Whether the answer with the higher id is shown first."""
    return int(_hash("order", pair), 16) % 2 == 1


def _hash(purpose: str, pair: Pair) -> str:
    return hashlib.sha256(json.dumps([purpose, pair.low, pair.high]).encode()).hexdigest()


def _task(connection: Connection, pair: Pair) -> Task:
    seen = labels.shown(connection, pair)
    messages = tuple(Message.model_validate(message) for message in seen.payload["messages"])
    first, second = (seen.high, seen.low) if swapped(pair) else (seen.low, seen.high)
    return Task(pair_id(pair), messages, first, second)


def _turned(pair: Pair, choice: Choice) -> str:
    """The choice in the order of the row: a is the lower id."""
    if choice == "tie":
        return "tie"
    return "a" if (choice == "1") != swapped(pair) else "b"


def _told(place: str, bad: Iterable[BadLine]) -> str:
    lines = [str(one) for one in bad]
    more = [f"and {len(lines) - BAD_LINES_TOLD} more"] if len(lines) > BAD_LINES_TOLD else []
    count = f"{len(lines)} bad line{'s' if len(lines) > 1 else ''}"
    return "\n".join([f"{place}: {count}, nothing was imported:", *lines[:BAD_LINES_TOLD], *more])
