"""The constitution: the principles that every answer is held to, in the words the judges read."""

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from policies import library
from policies.records import Frozen, digest

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class Principle(Frozen):
    """One rule, with the name that critiques cite."""

    name: Name
    text: Line


class Constitution(Frozen):
    """Principles, most important first."""

    name: Name
    principles: tuple[Principle, ...] = Field(min_length=1, max_length=40)

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Constitution":
        names = [principle.name for principle in self.principles]
        if len(set(names)) < len(names):
            raise ValueError("two principles have the same name")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return digest(self.model_dump(mode="json"))

    def text(self) -> str:
        """As judges read it, one principle a line."""
        return "\n".join(f"- {principle.name}: {principle.text}" for principle in self.principles)


def load(name: str) -> Constitution:
    """A shipped constitution by name, or one's own by path. Raises LibraryError: file, key, what is wrong."""
    return library.load("constitutions", name, Constitution)
