"""The rubric: what is scored, dimension by dimension, and what the ends of the scale mean."""

from typing import Self

from pydantic import Field, model_validator

from policies import library
from policies.judging.constitution import Line, Name
from policies.records import Frozen, digest


class Dimension(Frozen):
    """One thing to look at. `low` and `high` say what 0 and 10 mean."""

    name: Name
    question: Line
    low: Line
    high: Line


class Rubric(Frozen):
    """The dimensions and how they make the overall score."""

    name: Name
    dimensions: tuple[Dimension, ...] = Field(min_length=1, max_length=12)
    overall: Line
    """How the judge weighs the dimensions into the overall score or verdict."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        if len(set(self.names)) < len(self.dimensions):
            raise ValueError("two dimensions have the same name")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The dimensions' names, in order."""
        return tuple(dimension.name for dimension in self.dimensions)

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return digest(self.model_dump(mode="json"))

    def text(self) -> str:
        """As judges read it."""
        lines = [f"- {each.name}: {each.question} 0: {each.low} 10: {each.high}" for each in self.dimensions]
        return "\n".join([*lines, f"Overall: {self.overall}"])


def load(name: str) -> Rubric:
    """A shipped rubric by name, or one's own by path. Raises LibraryError: file, key, what is wrong."""
    return library.load("rubrics", name, Rubric)
