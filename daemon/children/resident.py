"""A child process that stays: it holds a reward model and scores answers, and is started when first asked.

Answers that are asked about together go to it together. It may be killed at any time: who waits for an answer
then is told so, nothing is made up, and the next question starts it again. It sees an environment of allowed
names only, and its standard input closes with this process.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from connectors.errors import FatalError, PoisonError, TransientError
from daemon.children.child import end_of, environment, how_ended, one_line
from daemon.log import get
from policies.training.resident.protocol import (
    SAID,
    JudgeAsk,
    JudgeFailed,
    JudgeJob,
    JudgeReady,
    JudgeScores,
    LoggedAnswer,
)

JOB, LOG = "job.json", "log.txt"
LONGEST = 1 << 24
"""Bytes of a line that the child may say."""
MIN_REST_S, MAX_REST_S = 1.0, 60.0
"""How long a child that fails again and again is left alone; it doubles with each time."""

log = get("resident")


def command(job_file: Path) -> list[str]:
    """How the child is run."""
    return [sys.executable, "-P", "-m", "policies.training.resident.judge", str(job_file)]


class Resident:
    """One child and who waits for it. Lives on one event loop; after `close` it may be used on another.

    `directory` has its job file and its log. `at_once`: most answers of one question. `start_s` and
    `answer_s` are how long it may take to load, and to answer.
    """

    def __init__(
        self,
        name: str,
        job: JudgeJob,
        *,
        directory: Path,
        at_once: int,
        start_s: float,
        answer_s: float,
        command: Callable[[Path], Sequence[str]] = command,
    ) -> None:
        self.name = name
        self.starts = 0
        self._job = job
        self._directory = directory
        self._at_once = at_once
        self._start_s = start_s
        self._answer_s = answer_s
        self._command = command
        self._waiting: deque[tuple[LoggedAnswer, asyncio.Future[float]]] = deque()
        self._work: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._asked = 0
        self._failures = 0
        self._rests_until = 0.0

    @property
    def pid(self) -> int | None:
        """Of the child; None where there is none."""
        return None if self._process is None else self._process.pid

    async def score(self, answered: LoggedAnswer) -> float:
        """The answer's reward, 0 to 10.

        Raises TransientError where the child died, hung or failed, PoisonError for an answer that cannot be
        shown to the model, and FatalError where the model cannot be loaded.
        """
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append((answered, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._answer_all())
        return await future

    async def close(self) -> None:
        """Ends the child. Whoever still waits is told so."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])
            self._work = None
        for _, future in self._waiting:
            _fail(future, TransientError(f"judge {self.name}: it is being closed"))
        self._waiting.clear()
        await self._end()

    async def _answer_all(self) -> None:
        while self._waiting:
            some = [self._waiting.popleft() for _ in range(min(self._at_once, len(self._waiting)))]
            asked = [(answered, future) for answered, future in some if not future.done()]
            if not asked:
                continue
            try:
                found = await self._answers([answered for answered, _ in asked])
            except (TransientError, FatalError) as error:
                for _, future in asked:
                    _fail(future, type(error)(str(error)))
            except asyncio.CancelledError:
                for _, future in asked:
                    _fail(future, TransientError(f"judge {self.name}: it is being closed"))
                raise
            else:
                self._tell(found, [future for _, future in asked])

    def _tell(self, found: JudgeScores, futures: Sequence[asyncio.Future[float]]) -> None:
        for place, (reward, future) in enumerate(zip(found.rewards, futures, strict=True)):
            if future.done():
                continue
            if reward is None:
                future.set_exception(PoisonError(found.refused.get(place, "the model gave no reward")))
            else:
                future.set_result(reward)

    async def _answers(self, answers: Sequence[LoggedAnswer]) -> JudgeScores:
        """The child's word on some answers. Raises TransientError and FatalError."""
        process = await self._running()
        self._asked += 1
        ask = JudgeAsk(id=self._asked, answers=tuple(answers))
        said = await self._exchange(process, ask)
        if isinstance(said, JudgeScores) and said.id == ask.id and len(said.rewards) == len(answers):
            self._failures = 0
            return said
        if isinstance(said, JudgeFailed) and said.id == ask.id:
            raise TransientError(f"judge {self.name}: {said.reason}")
        raise await self._failed("answered something else")

    async def _exchange(self, process: Process, ask: JudgeAsk) -> JudgeReady | JudgeScores | JudgeFailed:
        assert process.stdin is not None
        try:
            process.stdin.write(ask.model_dump_json().encode() + b"\n")
            await asyncio.wait_for(process.stdin.drain(), self._answer_s)
        except ConnectionError:
            raise await self._failed("") from None
        except TimeoutError:
            raise await self._failed(f"read nothing for {self._answer_s:g} s") from None
        return await self._said(process, self._answer_s)

    async def _running(self) -> Process:
        """The child, loaded. Raises TransientError and FatalError."""
        if self._process is not None and self._process.returncode is None:
            return self._process
        if time.monotonic() < self._rests_until:
            raise TransientError(f"judge {self.name}: its child failed {self._failures} times, and rests")
        process = await self._started()
        said = await self._said(process, self._start_s)
        if isinstance(said, JudgeFailed):
            await self._failed(said.reason)
            raise FatalError(f"judge {self.name}: {said.reason}")
        return process

    async def _started(self) -> Process:
        await self._end()
        self._directory.mkdir(parents=True, exist_ok=True)
        job, log_file = self._directory / JOB, self._directory / LOG
        job.write_text(self._job.model_dump_json(indent=1) + "\n", encoding="utf-8")
        with log_file.open("wb") as file:
            self._process = await asyncio.create_subprocess_exec(
                *self._command(job),
                stdin=PIPE,
                stdout=PIPE,
                stderr=file,
                env=environment(os.environ),
                start_new_session=True,
                limit=LONGEST,
            )
        self.starts += 1
        log.info("judge_child_started", judge=self.name, pid=self._process.pid)
        return self._process

    async def _said(self, process: Process, within_s: float) -> JudgeReady | JudgeScores | JudgeFailed:
        """The next line. Raises TransientError where none comes, or none that can be read."""
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), within_s)
            if not line:
                raise await self._failed("")
            return SAID.validate_json(line)
        except TimeoutError:
            raise await self._failed(f"said nothing for {within_s:g} s") from None
        except ValueError:
            raise await self._failed("said what cannot be read") from None

    async def _failed(self, why: str) -> TransientError:
        """Ends a child that is of no use, and lets it rest; returns what to raise. `why` "": it ended."""
        code = await self._end()
        self._failures += 1
        self._rests_until = time.monotonic() + min(MAX_REST_S, MIN_REST_S * 2.0 ** (self._failures - 1))
        log_file = self._directory / LOG
        tail = one_line(end_of(log_file))
        line = f"judge {self.name}: its child {why or how_ended(code)}"
        log.warning("judge_child_failed", judge=self.name, reason=why or how_ended(code))
        return TransientError(f"{line}{': ' if tail else ''}{tail} (log: {log_file})")

    async def _end(self) -> int:
        """Ends the child and all that it started; returns its exit code, 0 where there is none."""
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        return await process.wait()


def _fail(future: asyncio.Future[float], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
