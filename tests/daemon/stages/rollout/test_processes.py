"""Processes that change the rollout take turns, and one that is killed or late does no harm."""

import itertools
import threading
from pathlib import Path

import pytest

from daemon.errors import RefusedError
from daemon.store import ledger
from daemon.store.store import Store
from tests.daemon.stages.rollout import kill_sweep
from tests.daemon.stages.rollout.world import WHO, A, World, kinds, wished
from tests.killing import sweep


def test_a_stale_process_is_fenced_out(small: World) -> None:
    """One that still believes in an older epoch is refused by the target and by the store."""
    small.publish(A)
    rollout = small.rollout()
    stale = rollout.in_force()
    rollout.promote(A, **WHO)
    assert kinds(tuple(rollout._mirror.tell(stale))) == ["fenced"]
    with pytest.raises(RefusedError, match="epoch 0 is over"):
        rollout._move(stale, None, actor="x", reason="y", action="repoint")
    assert small.memory.served().adapter == A


def test_processes_take_turns(world: World, tmp_path: Path) -> None:
    """Commands and reconcilers at once: epochs rise by one, and all end up at the same adapter."""
    names = [f"agent-{number:012x}" for number in range(4)]
    for name in names:
        world.publish(name)
        world.rollout().promote(name, **WHO)  # been in force: they may come back at any time
        world.edit(None)
        world.rollout().reconcile()
    start = world.rollout().in_force().epoch
    url = world.store.url.render_as_string(hide_password=False)
    stores = [Store(url) for _ in range(4)]
    problems: list[BaseException] = []

    def command(name: str, store: Store) -> None:
        try:
            for _ in range(5):
                world.rollout(store).promote(name, **WHO)
                world.rollout(store).reconcile()
        except BaseException as error:  # noqa: BLE001 - told by the test below
            problems.append(error)

    threads = [threading.Thread(target=command, args=pair) for pair in zip(names, stores, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for store in stores:
        store.close()
    assert problems == []
    state = world.rollout().in_force()
    changes = world.rollout().changes(limit=1000)
    assert [change.epoch for change in changes] == list(range(state.epoch, 0, -1))
    assert state.epoch > start
    assert all(newer.previous == older.stable for newer, older in itertools.pairwise(changes))
    assert wished(world) == state.stable == world.memory.served().adapter
    assert world.store.read(ledger.verify).broken_at is None


def test_kill_9_at_any_moment_leaves_a_state_that_one_look_settles(tmp_path: Path) -> None:
    """After each of 40 kills: one adapter served whole, epochs in a row, a sound ledger, in sync at once."""
    result = sweep(kill_sweep, tmp_path, 40)
    assert result["kills"] == 40
    assert result["faults"] == []
    assert result["changes"] > 5, "the kills landed before any change"
