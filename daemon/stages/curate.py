"""The curate stage: candidates where they are missing, preferences from what was judged, frozen snapshots.

Every part can be killed anywhere and run again. A preference is unique on its two candidates, a snapshot on
its content.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.clock import Clock
from daemon.errors import RlaifdError
from daemon.log import get
from daemon.metrics import Metrics
from daemon.stages.sampling import Halts, Sample, Sampling
from daemon.store import preferences
from daemon.store.store import Store
from policies import snapshot
from policies.curation import NoPreference, Preference, preference_of
from policies.policy import PolicySpec
from policies.records import Role
from policies.selection import Reason, selected, told

log = get("curate")

CURATED_AT_ONCE = 500


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


class Curate:
    """Samples candidates, has them judged, and turns verdicts into preferences and snapshots.

    `sampling` is the first part of it, with its own arguments.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        spec: PolicySpec,
        roles: frozenset[Role],
        sample: Sample,
        halts: Halts,
        directory: Path,
        seed: int = 0,
        least: int = 32,
        most: int = 512,
        patience_s: float = 300.0,
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._spec = spec
        self._directory = directory
        self._seed = seed
        self.sampling = Sampling(
            store=store,
            clock=clock,
            metrics=metrics,
            spec=spec,
            roles=roles,
            sample=sample,
            halts=halts,
            seed=seed,
            least=least,
            most=most,
            patience_s=patience_s,
        )

    def step(self, *, at_once: bool = False) -> int:
        """Samples once and curates once, as far as there is something to do; returns how much was done.

        `at_once`: without waiting for more prompts to sample with.
        """
        return self.sample(at_once=at_once) + self.curate()

    def sample(self, *, at_once: bool = False) -> int:
        """Samples answers where they are missing; see `Sampling.step`."""
        return self.sampling.step(at_once=at_once)

    def curate(self) -> int:
        """Decides on the preference of prompts whose scores are in; answers how many prompts it looked at."""
        prompts = self._store.read(lambda c: preferences.uncurated(c, limit=CURATED_AT_ONCE))
        if not prompts:
            return 0
        found = [preference_of(prompt, self._spec.curation) for prompt in prompts]
        made = [each for each in found if isinstance(each, Preference)]
        looked_at = [prompt.trace_id for prompt in prompts]
        now = self._clock.now()
        new = self._store.write(
            lambda c: preferences.store_preferences(c, made, looked_at=looked_at, now=now)
        )
        self._metrics.preferences.set(self._store.read(preferences.count))
        without = [each.reason for each in found if isinstance(each, NoPreference)]
        told = {"reason": without[0]} if without else {}
        log.info("preferences_stored", prompts=len(prompts), new=new, without=len(without), **told)
        return len(prompts)

    def freeze(self, limit: int | None = None, *, note: str = "") -> FrozenSnapshot:
        """Writes the snapshot of the newest preferences that the caps allow, at most `limit` or `max_pairs`.

        The same preferences give the same snapshot. Raises NoPreferencesError when there are none.
        """
        draft = self.drafted(limit)
        pairs = self.pairs(draft)
        name, path = snapshot.write(self._directory, self._spec.name, pairs)
        now = self._clock.now()
        self._store.write(
            lambda c: preferences.store_snapshot(c, name, str(path), draft.ids, note=note, now=now)
        )
        log.info("snapshot_frozen", snapshot=name, pairs=len(pairs), left_out=told(draft.left_out))
        return FrozenSnapshot(name, path, len(pairs), draft.left_out)

    def drafted(self, limit: int | None = None) -> Draft:
        """What a snapshot would hold now. The order is shuffled with the seed.

        Raises NoPreferencesError when it would hold none.
        """
        stored = self._store.read(preferences.newest)
        selection = selected(stored, self._spec.curation, limit=limit)
        if not selection.kept:
            why = told(selection.left_out) or "no preference is stored"
            raise NoPreferencesError(f"{why}: nothing to train on yet")
        ids = sorted(each.id for each in selection.kept)
        random.Random(self._seed).shuffle(ids)
        return Draft(tuple(ids), selection.left_out)

    def pairs(self, draft: Draft) -> list[snapshot.Pair]:
        """The draft's pairs, in its order."""
        return self._store.read(lambda c: preferences.pairs(c, draft.ids))
