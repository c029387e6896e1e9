"""The shipped fakes, one for each Protocol. They keep their contracts, and the contract suites say so."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from connectors.base import (
    PLAIN_QUESTION,
    JudgeReply,
    JudgeRequest,
    Partition,
    Reading,
    Record,
    Resume,
    Samples,
    Served,
    Usage,
)
from connectors.errors import ConnectorError, FatalError, PoisonError, TransientError
from policies.records import Message, Sampled
from policies.rollout import Assignment


class MemorySource:
    """A source whose records a test appends. Back-pressure counts what was received and not committed."""

    def __init__(self, name: str = "memory", *, max_records: int = 5000, max_bytes: int = 64 << 20) -> None:
        self.name = name
        self._logs: dict[Partition, list[tuple[bytes | None, float | None]]] = {}
        self._next: dict[Partition, int] = {}
        self._stored: dict[Partition, int] = {}
        self._open: dict[Partition, deque[tuple[int, int]]] = {}
        self._max_records, self._max_bytes = max_records, max_bytes
        self._faults: deque[ConnectorError] = deque()
        self._resume: Resume | None = None
        self._closed = False
        self._well_at: float | None = None
        self._changed = threading.Condition()

    def append(
        self, value: bytes | None, *, topic: str = "t", partition: int = 0, timestamp: float | None = None
    ) -> None:
        """Adds a record to the end of a partition, which is made where there is none."""
        where = Partition(topic, partition)
        with self._changed:
            new = where not in self._logs
            self._logs.setdefault(where, []).append((value, timestamp))
            if new and self._resume is not None:
                self._assign(where)
            self._changed.notify_all()

    def fail(self, error: ConnectorError) -> None:
        """The next `receive` raises this error."""
        with self._changed:
            self._faults.append(error)
            self._changed.notify_all()

    def start(self, resume: Resume) -> None:
        with self._changed:
            self._resume = resume
            for partition in self._logs:
                self._assign(partition)

    def receive(self, timeout_s: float, limit: int = 500) -> list[Record]:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                if self._faults:
                    raise self._faults.popleft()
                self._well_at = time.time()
                found = [] if self._closed else self._take(limit)
                left = deadline - time.monotonic()
                if found or left <= 0 or self._closed:
                    return found
                self._changed.wait(left)

    def commit(self, positions: Mapping[Partition, int]) -> None:
        with self._changed:
            for partition, offset in positions.items():
                if partition in self._next:
                    self._stored[partition] = max(offset, self._stored[partition])
                    waiting = self._open[partition]
                    while waiting and waiting[0][0] <= offset:
                        waiting.popleft()
            self._changed.notify_all()

    def lag(self) -> Mapping[Partition, int]:
        with self._changed:
            return {each: len(self._logs[each]) - self._stored[each] for each in self._next}

    def reading(self) -> Reading:
        with self._changed:
            return Reading(len(self._next), self._well_at)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _assign(self, partition: Partition) -> None:
        assert self._resume is not None
        start = self._resume([partition]).get(partition, 0)
        self._next[partition] = self._stored[partition] = start
        self._open[partition] = deque()

    def _take(self, limit: int) -> list[Record]:
        found: list[Record] = []
        records = sum(len(each) for each in self._open.values())
        size = sum(entry[1] for each in self._open.values() for entry in each)
        for partition in self._next:
            log = self._logs[partition]
            while (
                self._next[partition] < len(log)
                and len(found) < limit
                and records < self._max_records
                and size < self._max_bytes
            ):
                offset = self._next[partition]
                value, timestamp = log[offset]
                found.append(Record(partition, offset, offset + 1, value, timestamp))
                self._open[partition].append((offset + 1, len(value or b"")))
                records, size = records + 1, size + len(value or b"")
                self._next[partition] = offset + 1
        return found


class MemoryTarget:
    """A ServingTarget in memory. `unreachable` makes both calls raise; `serves` keeps every switch."""

    def __init__(self, name: str = "memory", *, now: Callable[[], float] = time.time) -> None:
        self.name = name
        self._now = now
        self._assignment = Assignment(None, 0)
        self._epoch = 0
        self.unreachable = False
        self.serves: list[tuple[Assignment, dict[str, Path]]] = []

    def serve(self, assignment: Assignment, directories: Mapping[str, Path]) -> None:
        self._reach()
        lacking = [name for name in assignment.adapters if name not in directories]
        if lacking:
            raise FatalError(f"{lacking[0]}: an adapter needs its directory")
        if assignment.epoch < self._epoch:
            raise FatalError(f"epoch {assignment.epoch} is older than {self._epoch}, which is served")
        self._assignment, self._epoch = assignment, assignment.epoch
        self.serves.append((assignment, dict(directories)))

    def served(self) -> Served:
        self._reach()
        return Served(self._assignment, checked_at=self._now())

    def restart(self) -> None:
        """Forgets what it serves, as a server does that was started again."""
        self._assignment = Assignment(None, 0)

    def _reach(self) -> None:
        if self.unreachable:
            raise TransientError("the memory target is unreachable")


class MemoryJudge:
    """A Judge in memory. `answer` makes the reply's text from the request, or raises what a judge raises.

    `asked` keeps every request. A reply may carry `tokens` when `answer` gives a JudgeReply instead of text.
    """

    def __init__(
        self,
        answer: Callable[[JudgeRequest], str | JudgeReply],
        *,
        name: str = "memory",
        family: str = "memory",
        model: str = "memory-judge",
        latency_s: float = 0.0,
    ) -> None:
        self.name = name
        self.family = family
        self.model = model
        self.asked: list[JudgeRequest] = []
        self.closed = False
        self._answer = answer
        self._latency_s = latency_s

    async def ask(self, request: JudgeRequest) -> JudgeReply:
        if self.closed:
            raise FatalError(f"judge {self.name}: closed")
        self.asked.append(request)
        await asyncio.sleep(self._latency_s)
        answer = self._answer(request)
        if isinstance(answer, JudgeReply):
            return answer
        asked = [{"role": each.role, "content": each.content} for each in request.messages]
        return JudgeReply(
            text=answer,
            model=self.model,
            finish_reason="stop",
            usage=Usage(sum(len(each["content"]) for each in asked) // 3 + 1, len(answer) // 3 + 1),
            latency_s=self._latency_s,
            request={"model": self.model, "system": request.system, "messages": asked},
            response={"text": answer, "model": self.model},
        )

    async def close(self) -> None:
        self.closed = True


class MemorySampler:
    """A Sampler in memory. `answer(prompt, number)` gives an answer or its text, or raises.

    `asked` keeps every prompt that was sampled, `tools` the tool definitions that came with them.
    """

    def __init__(self, answer: Callable[[tuple[Message, ...], int], str | Sampled]) -> None:
        self.asked: list[tuple[Message, ...]] = []
        self.tools: list[tuple[Mapping[str, Any], ...]] = []
        self._answer = answer

    async def sample(
        self,
        prompts: Sequence[tuple[Message, ...]],
        count: int,
        *,
        tools: Sequence[tuple[Mapping[str, Any], ...]] = (),
    ) -> Samples:
        self.asked.extend(prompts)
        self.tools.extend(tools)
        rows = [self._row(prompt, count) for prompt in prompts]
        refused = {index: str(row) for index, row in enumerate(rows) if isinstance(row, PoisonError)}
        if refused and len(refused) == len(rows) and isinstance(self._row(PLAIN_QUESTION, 1), PoisonError):
            raise FatalError(f"every prompt and a plain question are refused: {refused[0]}")
        return Samples([[] if isinstance(row, PoisonError) else row for row in rows], refused)

    def _row(self, prompt: tuple[Message, ...], count: int) -> list[Sampled] | PoisonError:
        try:
            return [_sampled(self._answer(prompt, number)) for number in range(count)]
        except PoisonError as refusal:
            return refusal


def _sampled(answer: str | Sampled) -> Sampled:
    if isinstance(answer, Sampled):
        return answer
    return Sampled(messages=(Message(role="assistant", content=answer),))
