"""The model under the adapters: what an adapter was trained on, and whether it fits.

A base model is what it is made of: the settings that change what it computes, and its weights. Of a directory
that is a digest over both, wherever it lies and whatever it is called; of a hub's model it is the pinned
commit.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from policies.records import canonical

VOLATILE = frozenset({"transformers_version", "dtype", "torch_dtype", "use_cache"})
"""Keys of config.json that change when the same model is saved again; so do those that begin with `_`."""


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A file of weights: its name, its bytes, and the digest of its content."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Base:
    """A base model: a hub's id with its commit, or a directory."""

    model: str
    revision: str | None = None
    digest: str | None = None
    """SHA-256 of what it is made of; None where that is not known."""
    unread: str = ""
    """Why there is no digest."""

    def __str__(self) -> str:
        named = self.model if self.revision is None else f"{self.model} at {self.revision[:12]}"
        by_content = self.digest is not None and PurePath(self.model).is_absolute()
        return f"{named} (sha256 {str(self.digest)[:12]})" if by_content else named

    def refusal(self, adapter: str, made_for: "Base") -> str | None:
        """Why an adapter does not fit this base model; None: it does.

        Digests decide where both are known, so that a directory may move and may not be replaced. An adapter
        that carries none is held by the name alone (see `note`); one that carries a digest needs ours.
        """
        if made_for.digest is None:
            fits = self._same_name(made_for)
        elif self.digest is None:
            return (
                f"{adapter} was trained on {made_for}, and whether the policy's base model {self} is the "
                f"same cannot be told: {self.unread or 'it could not be read'}"
            )
        else:
            fits = self.digest == made_for.digest
        if fits:
            return None
        return f"{adapter} was trained on {made_for}, and the policy's base model is {self}: it fits no other"

    def note(self, adapter: str, made_for: "Base") -> str | None:
        """What to say of an adapter that was only held by its base model's name; None: by its content."""
        if made_for.digest is not None:
            return None
        return (
            f"{adapter} carries no digest of its base model: that {self} is the one is told by its name alone"
        )

    def _same_name(self, made_for: "Base") -> bool:
        """A hub's id is compared with its commit, a directory by its last name: it may have moved."""
        ours, theirs = PurePath(self.model), PurePath(made_for.model)
        if ours.is_absolute() and theirs.is_absolute():
            return ours.name == theirs.name
        return (self.model, self.revision) == (made_for.model, made_for.revision)


def digest_of_files(config: Mapping[str, Any], weights: Sequence[WeightFile]) -> str:
    """The digest of a directory's model, from its config.json and its weight files."""
    files = sorted((file.name, file.size, file.sha256) for file in weights)
    return _digest({"config": essential(config), "weights": [list(file) for file in files]})


def digest_of_commit(model: str, commit: str) -> str:
    """The digest of a hub's model: its id and the commit that pins its files."""
    return _digest({"hub": model, "commit": commit})


def essential(config: Any) -> Any:
    """The configuration without what changes when the same model is saved again, at every depth."""
    if isinstance(config, Mapping):
        return {
            key: essential(value)
            for key, value in config.items()
            if key not in VOLATILE and not str(key).startswith("_")
        }
    return [essential(value) for value in config] if isinstance(config, list | tuple) else config


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(canonical({"format": "rlaifd-base-1", **value})).hexdigest()
