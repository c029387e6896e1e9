"""What the store has for recipes that learn from answers one by one: which to look at, and what is new."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence

from sqlalchemy import Connection

from daemon.store import answers as stored
from daemon.store import preferences
from policies.recipes import KtoRecipe, SftRecipe
from policies.thumbs import Learnable, Offered, judged, targets
from policies.worth import FeedbackRule

SINCE = {
    "thumbs": stored.commented_since,
    "scores": stored.scored_since,
    "best": preferences.since,
    "corrections": stored.corrected_since,
}
NEWEST: Mapping[str, Callable[[Connection], Hashable]] = {
    "thumbs": stored.last_commented,
    "scores": stored.last_scored,
    "best": preferences.newest_id,
    "corrections": stored.last_corrected,
}


class StoredSingles:
    """A recipe's answers. `rule` says what feedback is worth."""

    def __init__(self, recipe: SftRecipe | KtoRecipe, rule: FeedbackRule | None = None) -> None:
        self._recipe = recipe
        self._rule = rule or FeedbackRule()

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the recipe takes them from."""
        recipe = self._recipe
        if isinstance(recipe, KtoRecipe):
            return ("thumbs", "scores") if recipe.source == "both" else (recipe.source,)
        return ("corrections", "best") if recipe.targets == "both" else (recipe.targets,)

    def found(self, connection: Connection, *, most: int, learned: Collection[int] = ()) -> Learnable:
        """What of the newest `most` of each source can be learned from, and then of the older candidates
        `learned`.
        """
        offers = [each for name in self.sources for each in self._offered(connection, name, most)]
        older = sorted(set(learned).difference(each.candidate for each in offers), reverse=True)
        if older:
            offers += [each for name in self.sources for each in self._offered(connection, name, most, older)]
        recipe = self._recipe
        if isinstance(recipe, KtoRecipe):
            return judged(offers, recipe, self._rule)
        return targets(offers, recipe)

    def newest(self, connection: Connection) -> tuple[Hashable, ...]:
        """The newest row of each source."""
        return tuple(NEWEST[name](connection) for name in self.sources)

    def since(self, connection: Connection, at: float | None, *, most: int) -> int:
        """How many came in after `at` (None: ever), at most `most` of each source."""
        return sum(SINCE[name](connection, at, most=most) for name in self.sources)

    def _offered(
        self, connection: Connection, source: str, most: int, among: Sequence[int] | None = None
    ) -> Sequence[Offered]:
        """The newest `most`, or of the candidates `among`."""
        if source == "thumbs":
            assert isinstance(self._recipe, KtoRecipe)
            return stored.thumbs(connection, self._recipe, self._rule, limit=most, among=among)
        if source == "scores":
            return stored.scores(connection, limit=most, among=among)
        if source == "corrections":
            return stored.corrections(connection, self._rule, limit=most, among=among)
        if among is not None:
            return stored.chosen(connection, stored.choosing(connection, among))
        return stored.chosen(connection, [each.id for each in preferences.newest(connection, limit=most)])
