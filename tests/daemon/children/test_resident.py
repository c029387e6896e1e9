"""A resident child scores answers; it may be killed, hang or fail, and whoever waits is told so."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import ConnectorError, FatalError, PoisonError, TransientError
from daemon.children import resident as resident_module
from daemon.children.resident import LOG, Resident
from policies.records import Message
from policies.training.resident.protocol import JudgeJob, LoggedAnswer
from tests.servers import scorer

ASKED = (Message(role="user", content="hello"),)


def answered(text: str) -> LoggedAnswer:
    return LoggedAnswer(prompt=ASKED, answer=(Message(role="assistant", content=text),))


def resident(directory: Path, *, base: str = "base", answer_s: float = 60.0, at_once: int = 4) -> Resident:
    return Resident(
        "quick",
        JudgeJob(base_model=base, reward=directory),
        directory=directory / "judge",
        at_once=at_once,
        start_s=60.0,
        answer_s=answer_s,
        command=lambda job: [sys.executable, str(Path(scorer.__file__)), str(job)],
    )


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


async def scores(judge: Resident, *texts: str) -> list[Any]:
    """What became of each: a reward, or an error."""
    return await asyncio.gather(*(judge.score(answered(each)) for each in texts), return_exceptions=True)


def test_answers_are_scored_by_one_child_that_stays(tmp_path: Path) -> None:
    """Questions that come together go to it together; each gets its own reward."""
    judge = resident(tmp_path)

    async def ask() -> None:
        assert await scores(judge, *("word " * count for count in range(1, 10))) == [
            *map(float, range(1, 10))
        ]
        first = judge.pid
        assert await judge.score(answered("two words")) == 2.0
        assert (judge.pid, judge.starts) == (first, 1)
        await judge.close()

    run(ask())
    assert judge.pid is None


def test_it_is_started_again_on_another_loop(tmp_path: Path) -> None:
    """A command that judges by hand ends its loop each time."""
    judge = resident(tmp_path)

    async def ask() -> float:
        try:
            return await judge.score(answered("one"))
        finally:
            await judge.close()

    assert [run(ask()), run(ask())] == [1.0, 1.0]
    assert judge.starts == 2


def test_what_cannot_be_shown_is_refused_by_itself(tmp_path: Path) -> None:
    """The answers beside it are scored."""
    judge = resident(tmp_path)

    async def ask() -> list[Any]:
        try:
            return await scores(judge, "one", "unshowable", "one two")
        finally:
            await judge.close()

    one, refused, two = run(ask())
    assert (one, two) == (1.0, 2.0)
    assert isinstance(refused, PoisonError)
    assert str(refused) == "it cannot be shown"


@pytest.mark.parametrize("text", ["hang", "fail"])
def test_a_question_without_an_answer_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """It may go better later, and the next question is answered."""
    monkeypatch.setattr(resident_module, "MIN_REST_S", 0.0)
    judge = resident(tmp_path, answer_s=2.0, at_once=1)

    async def ask() -> tuple[list[Any], int]:
        failed = await scores(judge, text)
        again = await scores(judge, "one")
        await judge.close()
        return [*failed, *again], judge.starts

    (error, one), starts = run(ask())
    assert type(error) is TransientError
    assert one == 1.0
    assert starts == (2 if text == "hang" else 1)


def test_a_killed_child_is_told_of_and_rests(tmp_path: Path) -> None:
    """All who wait are told; a child that fails again and again does not run through the queue."""
    judge = resident(tmp_path, at_once=1)

    async def ask() -> list[Any]:
        await judge.score(answered("one"))
        waiting = [asyncio.create_task(judge.score(answered("one"))) for _ in range(3)]
        await asyncio.sleep(0)
        assert judge.pid is not None
        os.kill(judge.pid, signal.SIGKILL)
        found = await asyncio.gather(*waiting, return_exceptions=True)
        await judge.close()
        return found

    found = [str(each) for each in run(ask()) if isinstance(each, ConnectorError)]
    assert f"was killed by SIGKILL (log: {tmp_path / 'judge' / LOG})" in found[0]
    assert all("rests" in each for each in found[1:])


def test_a_model_that_cannot_be_loaded_stops_the_judge(tmp_path: Path) -> None:
    """Every call would get that."""
    judge = resident(tmp_path, base="absent")

    async def ask() -> list[Any]:
        try:
            return await scores(judge, "one")
        finally:
            await judge.close()

    (error,) = run(ask())
    assert isinstance(error, FatalError)
    assert str(error) == "judge quick: absent: no such model"


def test_closing_tells_who_waits(tmp_path: Path) -> None:
    """And leaves no child behind."""
    judge = resident(tmp_path, at_once=1)

    async def ask() -> tuple[list[Any], int | None]:
        await judge.score(answered("one"))
        waiting = [asyncio.create_task(judge.score(answered(text))) for text in ("hang", "one")]
        await asyncio.sleep(0.05)
        pid = judge.pid
        await judge.close()
        return await asyncio.gather(*waiting, return_exceptions=True), pid

    found, pid = run(ask())
    assert [type(each) for each in found] == [TransientError, TransientError]
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
