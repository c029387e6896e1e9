"""Kills a process that publishes adapters, again and again.

Run as `python -m tests.daemon.adapters.kill_sweep DIRECTORY KILLS`. Answers one JSON object. It is a process
of its own so that forking is safe and a fork costs milliseconds.
"""

import itertools
import json
import os
import random
import sys
from functools import partial
from pathlib import Path

from daemon.adapters import adapters
from tests.daemon.adapters.adapterfiles import manifest, source
from tests.killing import kill_one


def publish_for_ever(made: Path, folder: Path, life: int, ready: int) -> None:
    """Publishes one adapter after the other until killed."""
    base = manifest(made)
    os.write(ready, b"x")
    for number in itertools.count():
        adapters.publish(made, adapters=folder, manifest=base.model_copy(update={"run": f"{life}-{number}"}))


def main(root: Path, kills: int) -> dict[str, object]:
    chance = random.Random(3)
    made = source(root / "made")
    for life in range(kills):
        kill_one(partial(publish_for_ever, made, root / "adapters", life), chance.uniform(0.001, 0.02))
    return {"kills": kills}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
