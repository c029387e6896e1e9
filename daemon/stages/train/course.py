"""What a run is to do: by which recipe, on which snapshot."""

from dataclasses import dataclass

from policies.recipes import Recipe


@dataclass(frozen=True, slots=True)
class Course:
    """A snapshot by its id, and the recipe by which a run is to learn from it."""

    snapshot: str
    recipe: Recipe
