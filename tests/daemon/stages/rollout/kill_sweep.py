"""Kills a process that promotes, rolls back and reconciles, again and again, and looks what is left.

Run as `python -m tests.daemon.stages.rollout.kill_sweep DIRECTORY KILLS`. Answers one JSON object. It is a
process of its own so that forking is safe; every child opens the store anew.
"""

import itertools
import json
import os
import random
import sys
import time
from functools import partial
from pathlib import Path

from connectors.serving.directory import DirectoryTarget
from daemon import log
from daemon.errors import RefusedError
from daemon.stages.rollout.file import RolloutFile
from daemon.store import ledger, rollouts
from daemon.store.schema import upgrade
from daemon.store.store import Store
from policies.records import Scope
from policies.rollout import render
from tests.daemon.stages.rollout.world import World
from tests.killing import kill_one

NAMES = [f"agent-{number:012x}" for number in range(12)]


def opened(root: Path) -> World:
    store = Store(f"sqlite:///{root / 'rlaifd.db'}")
    return World(store, root, DirectoryTarget(root / "serving"), fresh=False)


def work_for_ever(root: Path, seed: int, ready: int) -> None:
    """Commands and edits at random until killed."""
    chance = random.Random(seed)
    world = opened(root)
    rollout = world.rollout()
    file = RolloutFile(world.file, lock=root / "unused.lock")
    os.write(ready, b"x")
    while True:
        try:
            act = chance.randrange(4)
            if act == 0:
                rollout.promote(chance.choice(NAMES), actor="kill", reason="sweep")
            elif act == 1 and chance.random() < 0.2:
                rollout.rollback(actor="kill", reason="sweep")
            elif act == 2:
                file.put(render(chance.choice([*NAMES, None])).encode())
                rollout.reconcile()
            else:
                world.latch.resume(Scope.PROMOTION, actor="kill", reason="sweep")
        except RefusedError:
            rollout.reconcile()


def faults(root: Path) -> list[str]:
    """What is wrong before anybody mends it, and after one look of the reconciler."""
    found: list[str] = []
    current = root / "serving" / "current"
    if (root / "serving" / "current.json").exists():
        named = json.loads((root / "serving" / "current.json").read_text())["adapter"]
        linked = current.resolve().name if current.exists() else None
        if named != linked:
            found.append(f"the target names {named} and leads to {linked}")
    world = opened(root)
    state = world.rollout().reconcile()
    quarantined = world.store.read(rollouts.quarantined)
    epochs = [change.epoch for change in world.rollout().changes(limit=100_000)]
    if not state.in_sync:
        found.append(f"not in sync after a look: {state.conditions}")
    if world.target.served().adapter != world.rollout().in_force().stable:
        found.append("what is served is not what is in force")
    if state.stable in quarantined:
        found.append(f"{state.stable} is in force and in quarantine")
    if any(newer != older + 1 for newer, older in itertools.pairwise(epochs)):
        found.append(f"epochs do not rise by one: {epochs}")
    if world.store.read(ledger.verify).broken_at is not None:
        found.append("the ledger is broken")
    if any(condition.kind == "file_invalid" for condition in state.conditions):
        found.append("the file is not valid")
    world.store.close()
    return found


def main(root: Path, kills: int) -> dict[str, object]:
    log.configure("error", "json")
    chance = random.Random(0)
    store = Store(f"sqlite:///{root / 'rlaifd.db'}")
    upgrade(store)
    world = World(store, root, DirectoryTarget(root / "serving"))
    for name in NAMES:
        world.publish(name)
    began = time.monotonic()
    for name in NAMES:  # been in force: from now on any of them may come back
        world.rollout().promote(name, actor="start", reason="start")
        world.edit(None)
        world.rollout().reconcile()
    change_s = (time.monotonic() - began) / (2 * len(NAMES))
    started = world.rollout().in_force().epoch
    store.close()
    found: list[str] = []
    for kill in range(kills):
        kill_one(partial(work_for_ever, root, kill), chance.uniform(0, 3 * change_s))
        found += faults(root)
    world = opened(root)
    epoch = world.rollout().in_force().epoch
    world.store.close()
    return {"kills": kills, "faults": found, "changes": epoch - started}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
