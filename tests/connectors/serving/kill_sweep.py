"""Kills a process that switches adapters, again and again, and checks the directory after every kill.

Run as `python -m tests.connectors.serving.kill_sweep DIRECTORY KILLS`. Answers one JSON object. It is a
process of its own so that forking is safe and a fork costs milliseconds.
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
from policies.rollout import Assignment
from tests.killing import kill_one

NAMES: tuple[str | None, ...] = ("agent-aaa", "agent-bbb", None)


def adapter(root: Path, name: str) -> Path:
    """An adapter's directory, made when it is not there."""
    directory = root / "adapters" / name
    if not directory.exists():
        directory.mkdir(parents=True)
        (directory / "MANIFEST.json").write_text(json.dumps({"name": name}))
    return directory


def switch_for_ever(root: Path, epoch: int, ready: int) -> None:
    """Serves one adapter after the other until killed."""
    target = DirectoryTarget(root / "serving")
    os.write(ready, b"x")
    while True:
        for name in NAMES:
            epoch += 1
            target.serve(Assignment(name, epoch), {name: adapter(root, name)} if name else {})


def fault(root: Path) -> str | None:
    """What is wrong with the directory, None if nothing is. Looks at it as a server would."""
    serving = root / "serving"
    pointer = json.loads((serving / "current.json").read_text())
    current = serving / "current"
    if pointer["adapter"] is None:
        return None if not current.exists() else "base model named, and a directory linked"
    if current.resolve().name != pointer["adapter"]:
        return f"{pointer['adapter']} named, {current.resolve().name} linked"
    manifest = json.loads((current / "MANIFEST.json").read_text())
    return None if manifest["name"] == pointer["adapter"] else "the manifest names another"


def main(root: Path, kills: int) -> dict[str, object]:
    chance = random.Random(0)
    for made in filter(None, NAMES):
        adapter(root, made)
    target = DirectoryTarget(root / "serving")
    began = time.monotonic()
    for name in (*NAMES, *NAMES):
        target.serve(Assignment(name, 0), {name: adapter(root, name)} if name else {})
    switch_s = (time.monotonic() - began) / (2 * len(NAMES))
    faults: list[str] = []
    epochs = [0]
    for _ in range(kills):
        kill_one(partial(switch_for_ever, root, epochs[-1]), chance.uniform(0, 3 * switch_s))
        found = fault(root)
        if found:
            faults.append(found)
        epochs.append(json.loads((root / "serving" / "current.json").read_text())["epoch"])
        target.serve(Assignment("agent-aaa", epochs[-1]), {"agent-aaa": adapter(root, "agent-aaa")})
        if target.served().adapter != "agent-aaa":
            faults.append("did not recover")
    target.serve(Assignment(None, epochs[-1] + 1), {})  # a switch sweeps what the killed ones left
    states = len(list((root / "serving" / ".states").iterdir()))
    rises = all(a <= b for a, b in itertools.pairwise(epochs))
    return {"kills": kills, "faults": faults, "switches": epochs[-1], "epochs_rise": rises, "states": states}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
