"""Work in hand flows: what ends makes room at once, and what fails does not run through the queue."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from daemon.stages.judge.flow import End, Flow, Work

PATIENCE_S = 60.0
Piece = Callable[[], Coroutine[Any, Any, End]]


def ends(end: End) -> Piece:
    """A piece of work that ends so at once."""

    async def work() -> End:
        return end

    return work


class Queue:
    """Pieces that are taken from the front; `taken` tells how many at a time."""

    def __init__(self, *pieces: Piece) -> None:
        self.pieces = list(pieces)
        self.taken: list[int] = []

    async def take(self, most: int) -> Sequence[Work]:
        taken, self.pieces = self.pieces[:most], self.pieces[most:]
        self.taken.append(len(taken))
        return [piece() for piece in taken]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return await work

    return asyncio.run(bounded())


def test_a_free_place_is_filled_while_slow_work_is_out() -> None:
    """The slow piece ends only once all others have: behind a barrier it would never."""

    async def scene() -> tuple[int, list[int]]:
        others = asyncio.Semaphore(0)

        async def slow() -> End:
            for _ in range(20):
                await others.acquire()
            return End.STORED

        async def fast() -> End:
            others.release()
            return End.STORED

        queue = Queue(slow, *[fast] * 20)
        turn = await Flow(queue.take, at_once=4).turn(4, lasts_s=PATIENCE_S)
        return turn.done, queue.taken

    done, taken = run(scene())
    assert done == 21
    assert max(taken) <= 4


def test_what_comes_while_work_is_out_is_found() -> None:
    """A queue that was empty is looked at again before the work in hand has ended."""

    async def scene() -> int:
        came = asyncio.Event()

        async def slow() -> End:
            queue.pieces.append(late)
            await came.wait()
            return End.STORED

        async def late() -> End:
            came.set()
            return End.STORED

        queue = Queue(slow)
        return (await Flow(queue.take, at_once=4).turn(4)).done

    assert run(scene()) == 2


def test_failing_work_is_taken_once_for_each_place() -> None:
    """An outage does not run through the queue: the next turn tries as many again."""

    async def scene() -> list[tuple[int, int]]:
        queue = Queue(*[ends(End.PUT_BACK)] * 100)
        flow = Flow(queue.take, at_once=8)
        turns = [await flow.turn(8) for _ in range(2)]
        return [(turn.claimed, turn.put_back) for turn in turns]

    assert run(scene()) == [(8, 8), (8, 8)]


def test_what_is_stored_frees_the_places_of_what_failed() -> None:
    """One failure among many is no outage: the queue is done in one turn."""

    async def scene() -> tuple[int, int]:
        pieces = [ends(End.PUT_BACK if at % 3 == 0 else End.STORED) for at in range(60)]
        turn = await Flow(Queue(*pieces).take, at_once=8).turn(8, lasts_s=PATIENCE_S)
        return turn.done, turn.put_back

    assert run(scene()) == (40, 20)


@pytest.mark.parametrize("end", ["refused", "error"])
def test_nothing_is_taken_after_a_refusal_or_an_error(end: str) -> None:
    """What is out is waited for, and the error is told then."""

    async def breaks() -> End:
        raise ValueError("a bug")

    async def scene() -> tuple[int, int, list[str]]:
        first = ends(End.REFUSED) if end == "refused" else breaks
        queue = Queue(first, *[ends(End.STORED)] * 100)
        turn = await Flow(queue.take, at_once=4).turn(4, lasts_s=PATIENCE_S)
        return turn.claimed, turn.done, [str(error) for error in turn.errors]

    assert run(scene()) == (4, 3, [] if end == "refused" else ["a bug"])


def test_a_queue_that_cannot_be_read_is_told_once_all_is_in() -> None:
    """The error of a claim loses nothing of what is out."""

    async def scene() -> tuple[int, list[str]]:
        claimed = 0

        async def take(most: int) -> Sequence[Work]:
            nonlocal claimed
            claimed += 1
            if claimed > 1:
                raise OSError("away")
            return [ends(End.STORED)() for _ in range(most)]

        turn = await Flow(take, at_once=2).turn(4)
        return turn.done, [str(error) for error in turn.errors]

    assert run(scene()) == (2, ["away"])


def test_work_stays_in_hand_between_turns() -> None:
    """A turn that finished something does not wait for slow work; the last one does, and takes nothing."""

    async def scene() -> tuple[int, int, int, int]:
        held = asyncio.Event()

        async def slow() -> End:
            await held.wait()
            return End.STORED

        queue = Queue(slow, ends(End.STORED))
        flow = Flow(queue.take, at_once=4)
        first = await flow.turn(2, lasts_s=0.0)
        left = flow.in_hand
        queue.pieces.append(ends(End.STORED))
        held.set()
        last = await flow.turn(0, lasts_s=PATIENCE_S)
        return first.done, left, last.done, len(queue.pieces)

    assert run(scene()) == (1, 1, 1, 1)


def test_cancelling_a_turn_ends_all_that_is_in_hand() -> None:
    """It is waited for: what it still has to put back is put back."""

    async def scene() -> tuple[list[str], int]:
        told: list[str] = []
        begun = asyncio.Semaphore(0)

        async def endless() -> End:
            begun.release()
            try:
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(0)
                told.append("put back")
            return End.STORED

        flow = Flow(Queue(endless, endless).take, at_once=4)
        turn = asyncio.create_task(flow.turn(4))
        for _ in range(2):
            await begun.acquire()
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
        return told, flow.in_hand

    assert run(scene()) == (["put back"] * 2, 0)
