"""Review: pairs go out to people, labels come back.

People see the prompt and two answers: no verdict, no score, no origin. Which answer comes first is decided by
a hash that only the daemon turns back.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from connectors.review import jsonl
from connectors.review.jsonl import BAD_LINES_TOLD, BadLine, Choice, LabelFile, LabelLine, Task
from daemon.clock import Clock
from daemon.errors import RlaifdError, UsageError
from daemon.log import get
from daemon.store import labels, ledger
from daemon.store.labels import Imported, Label, LabelPair
from daemon.store.store import Store
from policies import reviewers
from policies.records import Message
from policies.reviewers import NoReviewerError

log = get("review")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a file of labels came to. `reviewer` is the name as stored; `open` lines have no choice yet."""

    reviewer: str
    imported: Imported
    open: int

    @property
    def labels(self) -> int:
        """How many labels the file holds."""
        return self.imported.new + self.imported.changed + self.imported.unchanged


class Review:
    """The pairs that wait for people, as tasks, and people's answers, as labels.

    `listed`: whose labels are taken; anybody's where it is empty, of a bounded number of people.
    """

    def __init__(self, *, store: Store, clock: Clock, listed: Sequence[str] = ()) -> None:
        self._store = store
        self._clock = clock
        self._listed = listed

    def tasks(self, *, reviewer: str | None = None, limit: int | None = None) -> list[Task]:
        """The pairs that wait, as tasks, those of the audit before those that may be fitted on, then oldest
        trace first: those that nobody labelled, or that the reviewer did not.
        """

        def work(connection: Connection) -> list[Task]:
            if reviewer is None:
                done = labels.labelled(connection)
            else:
                done = set(labels.labelled_by(connection, self._named(connection, reviewer)))
            wanted = [pair for pair in labels.pairs(connection) if (pair.low, pair.high) not in done]
            return [_task(connection, pair) for pair in wanted[:limit]]

        return self._store.read(work)

    def export(self, path: Path, *, reviewer: str | None = None, limit: int | None = None) -> int:
        """Writes the tasks to a JSONL file; returns how many. Raises RlaifdError when it cannot."""
        tasks = self.tasks(reviewer=reviewer, limit=limit)
        try:
            jsonl.write(path, tasks)
        except OSError as error:
            raise RlaifdError(f"{path}: {error.strerror}") from error
        return len(tasks)

    def load(self, path: Path, *, reviewer: str) -> Loaded:
        """Reads labels from a JSONL file and stores all of them, or none if a single line is bad.

        Raises RlaifdError with one line for each bad line, and for a file in which nothing is chosen yet.
        """
        try:
            found = jsonl.read(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise RlaifdError(f"{path}: {error.strerror}") from error
        if found.open and not found.answers and not found.bad:
            raise RlaifdError(
                f'{path}: {found.open} pairs, and none has a choice yet: write "1", "2" or "tie" where it '
                'says "choice": null'
            )
        return self._store_answers(found, place=str(path), reviewer=reviewer, file=digest)

    def label(self, pair: str, choice: Choice, *, reviewer: str, reason: str | None = None) -> Imported:
        """Stores one label, given on a page. Raises RlaifdError for an unknown pair."""
        found = LabelFile(answers=[LabelLine(pair, choice, reason or None, 1)])
        return self._store_answers(found, place="the page", reviewer=reviewer, file=None).imported

    def _store_answers(self, found: LabelFile, *, place: str, reviewer: str, file: str | None) -> Loaded:
        def work(connection: Connection) -> Loaded:
            name = self._named(connection, reviewer)
            imported = self._write(connection, _wanted(connection, found, place), reviewer=name, file=file)
            return Loaded(name, imported, found.open)

        loaded = self._store.write(work)
        counts = loaded.imported
        log.info(
            "labels_stored",
            reviewer=loaded.reviewer,
            new=counts.new,
            changed=counts.changed,
            unchanged=counts.unchanged,
        )
        return loaded

    def _write(
        self, connection: Connection, wanted: Sequence[Label], *, reviewer: str, file: str | None
    ) -> Imported:
        """The labels with their ledger entry, where they change anything."""
        now = self._clock.now()
        imported = labels.upsert(connection, wanted, reviewer=reviewer, now=now)
        if imported.new or imported.changed:
            ledger.append(
                connection,
                at=now,
                actor=reviewer,
                action="label",
                subject=reviewer,
                reason=f"labels from {'a file' if file else 'the page'}",
                detail={"new": imported.new, "changed": imported.changed, "file": file},
            )
        return imported

    def _named(self, connection: Connection, name: str) -> str:
        """The reviewer's name as it is stored. Raises UsageError for one whose labels are not taken."""
        try:
            return reviewers.reviewer(name, listed=self._listed, known=labels.reviewers(connection))
        except NoReviewerError as error:
            raise UsageError(str(error)) from None


def pair_id(pair: LabelPair) -> str:
    """A pair's name for people. It says nothing of which answer is which."""
    return _hash("pair", pair)[:16]


def swapped(pair: LabelPair) -> bool:
    """Whether the answer with the higher id is shown first."""
    return int(_hash("order", pair), 16) % 2 == 1


def _hash(purpose: str, pair: LabelPair) -> str:
    return hashlib.sha256(json.dumps([purpose, pair.low, pair.high]).encode()).hexdigest()


def _task(connection: Connection, pair: LabelPair) -> Task:
    seen = labels.shown(connection, pair)
    messages = tuple(Message.model_validate(message) for message in seen.payload["messages"])
    first, second = (seen.high, seen.low) if swapped(pair) else (seen.low, seen.high)
    return Task(pair_id(pair), messages, first, second)


def _turned(pair: LabelPair, choice: Choice) -> str:
    """The choice in the order of the row: a is the lower id."""
    if choice == "tie":
        return "tie"
    return "a" if (choice == "1") != swapped(pair) else "b"


def _wanted(connection: Connection, found: LabelFile, place: str) -> list[Label]:
    """The answers as labels. Raises RlaifdError where a line is bad, or of a pair that there is not."""
    known = {pair_id(pair): pair for pair in labels.pairs(connection)}
    unknown = [
        BadLine(answer.line, f"pair {answer.pair} is not one that was exported")
        for answer in found.answers
        if answer.pair not in known
    ]
    if found.bad or unknown:
        told = sorted([*found.told, *unknown], key=lambda one: one.line)
        raise RlaifdError(_told(place, told, count=found.bad + len(unknown)))
    return [
        Label(known[answer.pair], _turned(known[answer.pair], answer.choice), answer.reason)
        for answer in found.answers
    ]


def _told(place: str, bad: Sequence[BadLine], *, count: int) -> str:
    lines = [str(one) for one in bad[:BAD_LINES_TOLD]]
    more = [f"and {count - len(lines)} more"] if count > len(lines) else []
    said = f"{count} bad line{'s' if count > 1 else ''}"
    return "\n".join([f"{place}: {said}, nothing was imported:", *lines, *more])
