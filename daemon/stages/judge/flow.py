"""Work in hand that flows: a slot that falls free takes the next piece while slow ones are still out."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

TURN_S = 1.0
"""After so long a turn in which something was finished ends: between two, whoever drives it looks round."""
LOOK_S = 1.0
"""How long a queue that was found empty is not looked at again while work is out."""
REFILL = 4
"""The part of all slots that is filled at once: a transaction for each slot would cost more than its work."""


class End(Enum):
    """What became of one piece of work."""

    STORED = "stored"
    PUT_BACK = "put_back"
    REFUSED = "refused"
    """Put back because no further work may begin."""
    LOST = "lost"
    """Given up, or not ours any more."""


@dataclass
class FlowTurn:
    """What ended within one turn. `claimed` may still be out."""

    claimed: int = 0
    done: int = 0
    put_back: int = 0
    errors: list[BaseException] = field(default_factory=list)


Work = Coroutine[Any, Any, End]
Take = Callable[[int], Awaitable[Sequence[Work]]]
"""Claims up to so many pieces of work and returns them, not yet begun."""


class Flow:
    """Holds what is in hand, between turns too. Lives on one event loop while anything is.

    Failing work must not run through the queue: a slot whose work was put back stays empty until something is
    stored, or until nothing is in hand. Once a piece was refused or raised, a turn takes nothing more.
    """

    def __init__(self, take: Take, *, at_once: int) -> None:
        self._take = take
        self._at_once = at_once
        self._out: set[asyncio.Task[End]] = set()
        self._ended: list[asyncio.Task[End]] = []
        self._woken = asyncio.Event()
        self._put_back = 0

    @property
    def in_hand(self) -> int:
        return len(self._out) + len(self._ended)

    async def turn(self, most: int, *, once: bool = False, lasts_s: float = TURN_S) -> FlowTurn:
        """Keeps at most `most` in hand. Returns when nothing is, or when something was finished and `lasts_s`
        is over.

        `once`: takes a single time. With `most` 0 nothing is taken. After an error all that is out is waited
        for. When it is cancelled, so is all that is in hand, and is waited for.
        """
        loop, turn = asyncio.get_running_loop(), FlowTurn()
        ends_at, look_at = loop.time() + lasts_s, 0.0
        self._woken = asyncio.Event()
        if not self.in_hand:
            self._put_back = 0
        try:
            while True:
                most = self._harvested(turn, most)
                late = loop.time() >= ends_at
                if late and turn.done and not turn.errors:
                    return turn
                free = 0 if late and self._put_back else most - self.in_hand - self._put_back
                if free >= max(1, most // REFILL) and loop.time() >= look_at:
                    full = await self._filled(turn, min(free, self._at_once))
                    look_at = 0.0 if full else loop.time() + LOOK_S
                    most = 0 if once else most
                elif not self.in_hand:
                    return turn
                else:
                    await self._something((look_at if free > 0 else 0.0, 0.0 if late else ends_at))
        except asyncio.CancelledError:
            await self._cancel()
            raise

    async def _filled(self, turn: FlowTurn, wanted: int) -> bool:
        """Takes so many; False where there were not so many."""
        try:
            taken = await self._take(wanted)
        except Exception as error:  # noqa: BLE001 - raised by the caller once nothing is out
            turn.errors.append(error)
            return False
        for work in taken:
            task = asyncio.create_task(work)
            self._out.add(task)
            task.add_done_callback(self._end)
        turn.claimed += len(taken)
        return len(taken) == wanted

    def _end(self, task: asyncio.Task[End]) -> None:
        self._out.discard(task)
        self._ended.append(task)
        self._woken.set()

    async def _something(self, times: tuple[float, float]) -> None:
        """Returns when work has ended, or at the first of these times that is to come."""
        loop = asyncio.get_running_loop()
        waits = [at - loop.time() for at in times if at > loop.time()]
        try:
            async with asyncio.timeout(min(waits, default=None)):
                await self._woken.wait()
        except TimeoutError:
            return

    def _harvested(self, turn: FlowTurn, most: int) -> int:
        """Counts what has ended; returns how much may be in hand from here on."""
        self._woken.clear()
        ended, self._ended = self._ended, []
        for task in ended:
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is not None:
                turn.errors.append(error)
                continue
            end = task.result()
            if end is End.STORED:
                turn.done += 1
                self._put_back = 0
            elif end is not End.LOST:
                turn.put_back += 1
                self._put_back += 1
            if end is End.REFUSED:
                most = 0
        return 0 if turn.errors else most

    async def _cancel(self) -> None:
        for task in self._out:
            task.cancel()
        await asyncio.gather(*self._out, return_exceptions=True)
        self._ended.clear()
