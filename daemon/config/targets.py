"""How the first version wrote its one target: `rollout.directory`."""

from collections.abc import Mapping
from typing import Any

from policies.configured import misfit


def with_targets(written: Any) -> Any:
    """The written configuration with `rollout.directory` as the one of `targets`, which it is short for.

    Raises ValueError where both are written: it would not be clear which counts.
    """
    rollout = written.get("rollout") if isinstance(written, Mapping) else None
    if not isinstance(rollout, Mapping) or "directory" not in rollout:
        return written
    if "targets" in written:
        raise misfit(
            "rollout.directory", "is short for the path of one target, and targets are written too: remove it"
        )
    others = {key: value for key, value in rollout.items() if key != "directory"}
    target = {"type": "directory", "path": rollout["directory"]}
    return {**written, "rollout": others, "targets": [target]}
