"""Snapshots frozen: which preferences go in, the file, and the row that says what was left out."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.errors import RlaifdError
from daemon.log import get
from daemon.store import preferences, snapshots
from daemon.store.store import Store
from policies import snapshot
from policies.policy import PolicySpec
from policies.selection import Offer, Reason, selected, told

log = get("freezing")

READ = 10
"""Times `max_pairs`: so many of the newest preferences are looked at. Older ones come in as replay alone."""


class NoPreferencesError(RlaifdError):
    """A snapshot was asked for and there is nothing to put into it."""


@dataclass(frozen=True, slots=True)
class FrozenSnapshot:
    """A frozen snapshot. `left_out` counts the preferences that are not in it, by why."""

    id: str
    path: Path
    pairs: int
    left_out: Mapping[Reason, int]


@dataclass(frozen=True, slots=True)
class Draft:
    """What a snapshot would hold: ids of preferences in the order of the file, and what is left out."""

    ids: tuple[int, ...]
    left_out: Mapping[Reason, int]


class Freezing:
    """Drafts and writes snapshots. The same preferences give the same snapshot."""

    def __init__(
        self, *, store: Store, clock: Clock, spec: PolicySpec, directory: Path, seed: int = 0
    ) -> None:
        self._store = store
        self._clock = clock
        self._spec = spec
        self._directory = directory
        self._seed = seed

    def freeze(self, limit: int | None = None, *, note: str = "") -> FrozenSnapshot:
        """Writes the snapshot of what the caps allow, at most `limit` or `max_pairs`, newest first.

        Raises NoPreferencesError when there are none.
        """
        return self.write(self.drafted(limit), note=note)

    def write(self, draft: Draft, *, note: str = "") -> FrozenSnapshot:
        """Writes the snapshot of a draft, durably, and then its row."""
        name, path = snapshot.write(self._directory, self._spec.name, self.pairs(draft))
        now = self._clock.now()
        left_out = {why.value: count for why, count in draft.left_out.items()}
        self._store.write(
            lambda c: preferences.store_snapshot(
                c, name, str(path), draft.ids, note=note, left_out=left_out, now=now
            )
        )
        log.info("snapshot_frozen", snapshot=name, pairs=len(draft.ids), left_out=told(draft.left_out))
        return FrozenSnapshot(name, path, len(draft.ids), draft.left_out)

    def drafted(self, limit: int | None = None) -> Draft:
        """What a snapshot would hold now. The order is shuffled with the seed.

        Raises NoPreferencesError when it would hold none.
        """
        selection = selected(
            self._store.read(self._offers), self._spec.curation, now=self._clock.now(), limit=limit
        )
        if not selection.kept:
            why = told(selection.left_out) or "no preference is stored"
            raise NoPreferencesError(f"{why}: nothing to train on yet")
        ids = sorted(each.id for each in selection.kept)
        random.Random(self._seed).shuffle(ids)
        return Draft(tuple(ids), selection.left_out)

    def pairs(self, draft: Draft) -> list[snapshot.Pair]:
        """The draft's pairs, in its order."""
        return self._store.read(lambda c: preferences.pairs(c, draft.ids))

    def _offers(self, connection: Connection) -> list[Offer]:
        rule = self._spec.curation
        return preferences.newest(
            connection,
            limit=READ * rule.max_pairs,
            tag=None if rule.mix is None else rule.mix.tag,
            learned=snapshots.learned(connection) if rule.replay_share else (),
        )
