"""Writes that are committed together fail apart."""

import asyncio
from collections.abc import Callable
from typing import Any

from daemon.stages.judge.group_commit import GroupCommit
from daemon.store.store import Store


def test_a_group_commit_isolates_the_write_at_fault(store: Store) -> None:
    """One bad piece of work does not undo its neighbours'."""

    async def run() -> list[Any]:
        group = GroupCommit(store)

        def work(at: int) -> Callable[[Any], int]:
            def write(connection: Any) -> int:
                if at == 3:
                    raise ValueError("mine")
                return at

            return write

        return await asyncio.gather(*(group.write(work(at)) for at in range(6)), return_exceptions=True)

    results = asyncio.run(run())
    assert [each for each in results if isinstance(each, int)] == [0, 1, 2, 4, 5]
    assert str(results[3]) == "mine"
