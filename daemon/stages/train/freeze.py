"""Snapshots frozen: what goes in, the file, and the row that says what was left out.

What a snapshot holds, pairs, answers one by one or prompts, is its kind's to know (`daemon.store.kinds`).
"""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.clock import Clock
from daemon.errors import RlaifdError
from daemon.log import get
from daemon.store import preferences
from daemon.store.kinds import Draft, kind_of
from daemon.store.store import Store
from policies.policy import PolicySpec
from policies.recipes import Recipe
from policies.selection import Reason, selected, told

log = get("freezing")

READ = 10
"""Times `max_pairs`: so many of the newest are looked at. Older ones come in as replay alone."""


class NoPreferencesError(RlaifdError):
    """A snapshot was asked for and there is nothing to put into it."""


@dataclass(frozen=True, slots=True)
class FrozenSnapshot:
    """A frozen snapshot of so many `pairs` (or answers, or prompts). `left_out` counts what is not in it, by
    why.
    """

    id: str
    path: Path
    pairs: int
    left_out: Mapping[Reason, int]


class Freezing:
    """Drafts and writes snapshots of the kind that a recipe learns from.

    The same content gives the same snapshot.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        spec: PolicySpec,
        directory: Path,
        seed: int = 0,
        recipe: Recipe | None = None,
    ) -> None:
        """`recipe` None: the policy's first."""
        self._store = store
        self._clock = clock
        self._spec = spec
        self._directory = directory
        self._seed = seed
        self.kind = kind_of(spec, recipe)

    def freeze(self, limit: int | None = None, *, note: str = "") -> FrozenSnapshot:
        """Writes the snapshot of what the caps allow, at most `limit` or `max_pairs`, newest first.

        Raises NoPreferencesError when there is nothing.
        """
        return self.write(self.drafted(limit), note=note)

    def write(self, draft: Draft, *, note: str = "") -> FrozenSnapshot:
        """Writes the snapshot of a draft, durably, and then its row."""
        name, path = self.write_file(draft, self._directory)
        now = self._clock.now()
        left_out = {why.value: count for why, count in draft.left_out.items()}
        held = self.kind.held(draft)
        self._store.write(
            lambda c: preferences.store_snapshot(
                c, name, str(path), held, note=note, left_out=left_out, now=now
            )
        )
        log.info(
            "snapshot_frozen", snapshot=name, left_out=told(draft.left_out), **{self.kind.unit: len(held)}
        )
        return FrozenSnapshot(name, path, len(held), draft.left_out)

    def write_file(self, draft: Draft, directory: Path) -> tuple[str, Path]:
        """The file alone, in any directory; returns (id, path)."""
        return self.kind.write(self._store, draft, directory)

    def drafted(self, limit: int | None = None, *, newest: int | None = None) -> Draft:
        """What a snapshot would hold now, or would if there were only the `newest` so many. The order is
        shuffled with the seed.

        Raises NoPreferencesError when it would hold nothing.
        """
        most = newest or READ * self._spec.curation.max_pairs
        found = self._store.read(lambda c: self.kind.found(c, most=most))
        selection = selected(found.offers, self._spec.curation, now=self._clock.now(), limit=limit)
        left_out = Counter(found.left_out) + Counter(selection.left_out)
        if not selection.kept and not found.labelled:
            why = told(left_out) or self.kind.nothing
            raise NoPreferencesError(f"{why}: nothing to train on yet")
        ids = sorted(each.id for each in selection.kept)
        random.Random(self._seed).shuffle(ids)
        answers = tuple(found.answers[each] for each in ids if found.answers)
        return Draft(tuple(ids), left_out, answers, found.labelled)
