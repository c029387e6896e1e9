"""The model under the adapters: what an adapter was trained on, and whether it fits."""

from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True, slots=True)
class Base:
    """A base model: a hub's id with its commit, or a directory."""

    model: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.model if self.revision is None else f"{self.model} at {self.revision[:12]}"

    def refusal(self, adapter: str, made_for: "Base") -> str | None:
        """Why an adapter does not fit this base model; None: it does. A hub's id is compared with its commit,
        a directory by its last name: it may have moved with all the rest.
        """
        ours, theirs = PurePath(self.model), PurePath(made_for.model)
        directories = ours.is_absolute() and theirs.is_absolute()
        fits = ours.name == theirs.name if directories else self == made_for
        if fits:
            return None
        return f"{adapter} was trained on {made_for}, and the policy's base model is {self}: it fits no other"
