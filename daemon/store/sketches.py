"""What the texts of a kind of snapshot read like, as far as they were looked at."""

from collections.abc import Callable, Mapping, Sequence

from policies.likeness import Sketch, sketch_of
from policies.policy import CurationRule

LOOKED_AT = 2
"""Times `max_pairs`: so many of the newest texts are compared with one another."""
AT_ONCE = 500
"""Texts that are read at a time."""


class Sketches:
    """Sketches of texts by number. A text never changes, so that each is looked at once."""

    def __init__(self, rule: CurationRule) -> None:
        self._most = LOOKED_AT * rule.max_pairs
        self._known: dict[int, Sketch] = {}

    def look(
        self, newest_first: Sequence[int], read: Callable[[Sequence[int]], Mapping[int, Sequence[str]]]
    ) -> None:
        """Knows those of the first of these texts, and no others from now on. `read` gives the parts of texts
        by their numbers.
        """
        some = newest_first[: self._most]
        known = {each: self._known[each] for each in some if each in self._known}
        missing = [each for each in some if each not in known]
        for start in range(0, len(missing), AT_ONCE):
            texts = read(missing[start : start + AT_ONCE])
            known |= {each: sketch_of(parts) for each, parts in texts.items()}
        self._known = known

    def of(self, number: int) -> Sketch:
        """Of a text; nothing where it is not known."""
        return self._known.get(number, ())
