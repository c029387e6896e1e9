"""What people want served, as they write it in rollout.yaml, and what of it may be in force.

```yaml
apiVersion: rlaifd/v1
kind: AdapterRollout
spec:
  stable: support-agent-3f2c9a1b77d0   # null: the base model
  canary: null
...
```
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError, field_validator

from policies.records import Frozen

ADAPTER_NAME = r"^[a-z0-9][a-z0-9-]{0,127}$"
HEADER = (
    "# Which adapter is wanted. Edit it, or use `rlaifd promote` and `rlaifd rollback`.\n"
    "# The last line of three dots must stay: a file without it was cut off, and is refused.\n"
)


class ConditionKind(StrEnum):
    """What keeps a wish from being served, or would."""

    FILE_INVALID = "file_invalid"
    REFUSED = "refused"
    CONTRADICTED = "contradicted"
    QUARANTINED = "quarantined"
    CORRUPTED = "corrupted"
    FOREIGN = "foreign"
    UNSERVED = "unserved"
    FENCED = "fenced"
    STORE_LOST = "store_lost"


class RefusalKind(StrEnum):
    """Why an adapter may not come into force."""

    UNKNOWN = "unknown"
    QUARANTINED = "quarantined"
    UNDECIDED = "undecided"
    REJECTED = "rejected"
    STALE = "stale"
    FOREIGN = "foreign"
    HALTED = "halted"
    CORRUPTED = "corrupted"


class ChangeKind(StrEnum):
    """Which way the adapter in force changed."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which adapter serves what share of the traffic, as decided at an epoch; epoch 0 before any decision.

    `stable` None is the base model. `share` is the canary's, and 0: this version serves no canary. Raises
    ValueError for any other.
    """

    stable: str | None
    epoch: int
    canary: str | None = None
    share: float = 0.0

    def __post_init__(self) -> None:
        if self.canary is not None or self.share:
            raise ValueError(f"a canary ({self.canary}, share {self.share:g}): this version serves none")

    def then(self, stable: str | None) -> "Assignment":
        """The one that follows it with another stable adapter."""
        return Assignment(stable, self.epoch + 1)

    def at(self, epoch: int) -> "Assignment":
        """The same with another epoch: two that are equal then serve the same."""
        return replace(self, epoch=epoch)

    @property
    def adapters(self) -> tuple[str, ...]:
        """The adapters whose files a target needs."""
        return tuple(name for name in (self.stable, self.canary) if name is not None)


class RolloutSpec(Frozen):
    """The wanted serving state. `stable` has no default: an absent key is a slip, never the base model."""

    stable: StrictStr | None = Field(pattern=ADAPTER_NAME)
    """The adapter to serve; None: the base model."""
    canary: None = None
    """Reserved for an adapter that gets a share of the traffic."""

    share: float = 0.0
    """The canary's share of the traffic."""

    @field_validator("canary", mode="before")
    @classmethod
    def _no_canary(cls, value: Any) -> None:
        if value is not None:
            raise ValueError("must be null: this version serves no canary, only `stable`")

    @field_validator("share", mode="before")
    @classmethod
    def _no_share(cls, value: Any) -> float:
        if isinstance(value, bool) or value != 0:
            raise ValueError("must be 0: this version serves no canary, only `stable`")
        return 0.0


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    api_version: Literal["rlaifd/v1"] = Field(alias="apiVersion")
    kind: Literal["AdapterRollout"]
    spec: RolloutSpec


class RolloutSpecError(ValueError):
    """The document is not a rollout. The message is one line: key and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class WantedState:
    """What should be in force. `problem` says why that is not what the file names; None: it is."""

    stable: str | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """A content of the file, by its digest, and the epoch at which it was seen first or agreed last."""

    digest: str
    epoch: int


def has_lost(
    spec: RolloutSpec, digest: str, *, noted: Noted | None, epoch: int, decided: Collection[str]
) -> bool:
    """Whether a file that names something else than what is in force is an old wish, and no new one.

    A file whose content changed since it was noted is a new wish; one that did not has lost to any epoch
    since. Of one that was never noted it is not known: on a database where something was decided, the base
    model is what `rlaifd init` wrote, and a content among the `decided` ones had its turn.
    """
    if noted is None:
        return epoch > 0 and (spec.stable is None or digest in decided)
    return digest == noted.digest and epoch != noted.epoch


def parse(document: Mapping[str, Any]) -> RolloutSpec:
    """The specification in a parsed YAML document. Raises RolloutSpecError."""
    try:
        return _Document.model_validate(document).spec
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in problem["loc"]) or "document"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown key: remove or correct it"
        elif problem["type"] == "missing":
            message = "is required and missing"
            if key == "spec.stable":
                message += "; write `stable: null` for the base model"
        elif problem["type"] == "string_pattern_mismatch":
            message = "is not the name of an adapter"
        raise RolloutSpecError(f"{key}: {message}") from None


def render(stable: str | None, *, comments: str = HEADER) -> str:
    """The whole file for a stable adapter, below the given comment lines."""
    name = "null" if stable is None else stable
    return (
        f"{comments}apiVersion: rlaifd/v1\nkind: AdapterRollout\nspec:\n"
        f"  stable: {name}   # null: the base model\n  canary: null\n...\n"
    )


def top_comments(text: str) -> str:
    """The comment lines a person wrote above the first key, each with its newline; '' if there are none."""
    kept: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        kept.append(line + "\n")
    return "".join(kept)


def last_good(
    history: Iterable[str | None],
    *,
    in_force: str | None,
    quarantined: Collection[str],
    foreign: Collection[str],
) -> str | None:
    """The newest of what was in force, newest first, that may serve; None: the base model.

    What is in force stays when the policy's base model changes, but nothing goes back to another one's.
    """
    for stable in history:
        if stable not in quarantined and (stable == in_force or stable not in foreign):
            return stable
    return None


def state_in_force(
    spec: RolloutSpec | None, quarantined: Collection[str], last_good: str | None
) -> WantedState:
    """The file minus the quarantine: what a valid file names, unless that is quarantined.

    `last_good` is what stays in force then; a quarantined one gives way to the base model.
    """
    kept = None if last_good in quarantined else last_good
    if spec is None:
        return WantedState(kept, "the file is not valid")
    if spec.stable in quarantined:
        return WantedState(kept, f"{spec.stable} is quarantined")
    return WantedState(spec.stable)
