"""Group commit: what several tasks want written goes into one transaction, and each learns of its own part.

One fsync a verdict would bound the stage; here writes that arrive while a commit is under way wait for the
next one, so groups grow with load and a lone write waits for nothing.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection

from daemon.store.store import Store

T = TypeVar("T")
Work = Callable[[Connection], Any]
MOST = 256
"""Pieces of work in one transaction."""


class GroupCommit:
    """Writes on one event loop. A piece of work is committed when its `write` returns.

    Work must be repeatable: when a group fails, each piece is done again in a transaction of its own, so that
    only the one at fault raises.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: list[tuple[Work, asyncio.Future[Any]]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a transaction, maybe together with others'; returns its result once committed."""
        return await self.begin(work)

    def begin(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        """`write` without the wait: what is begun before the next wait is in one transaction."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._pending.append((work, done))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        return done

    async def _flush(self) -> None:
        while self._pending:
            group, self._pending = self._pending[:MOST], self._pending[MOST:]
            try:
                await self._commit(group)
            except BaseException:
                for _, done in group:
                    done.cancel()
                raise

    async def _commit(self, group: list[tuple[Work, asyncio.Future[Any]]]) -> None:
        works = [work for work, _ in group]
        try:
            results = await asyncio.to_thread(self._store.write, lambda c: [work(c) for work in works])
        except Exception as error:  # noqa: BLE001 - handed to the tasks that wait for it
            if len(group) > 1:
                for each in group:
                    await self._commit([each])
            elif not group[0][1].done():
                group[0][1].set_exception(error)
            return
        for (_, done), result in zip(group, results, strict=True):
            if not done.done():
                done.set_result(result)
