"""Where adapters are served, as it is configured, and how the first version wrote its one target."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from policies.configured import Configured, misfit

TargetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class DirectoryTargetConfig(Configured):
    """A directory that a server follows: `current` is a link to the served adapter, `current.json` names it
    with the epoch.
    """

    type: Literal["directory"]
    name: TargetName = "directory"
    path: Path


TargetConfig = DirectoryTargetConfig
"""One of the types of targets, told by `type`."""
SERVING = (DirectoryTargetConfig(type="directory", path=Path("serving")),)


def require_apart(targets: Sequence[TargetConfig]) -> None:
    """Raises ValueError where two targets have one name or one place."""
    for key in ("name", "path"):
        seen: dict[Any, int] = {}
        for number, target in enumerate(targets):
            first = seen.setdefault(getattr(target, key), number)
            if first != number:
                raise ValueError(f"targets.{number}.{key} is that of targets.{first}: give each its own")


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
