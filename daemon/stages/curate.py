"""The curate stage: candidates where they are missing, preferences from what was judged, frozen snapshots.

Every part can be killed anywhere and run again. A preference is unique on its two candidates, a snapshot on
its content.
"""

import random
from dataclasses import dataclass
from pathlib import Path

from daemon.clock import Clock
from daemon.errors import RlaifdError
from daemon.log import get
from daemon.metrics import Metrics
from daemon.stages.gathering import Gathering
from daemon.stages.sampling import Halts, Sample, Sampling
from daemon.store import preferences
from daemon.store.store import Store
from policies import snapshot
from policies.curation import NoPreference, Preference, capped, preference_of
from policies.policy import PolicySpec
from policies.recipes import KtoRecipe, SftRecipe
from policies.records import Role
from policies.thumbs import told

log = get("curate")

CURATED_AT_ONCE = 500


class NoPreferencesError(RlaifdError):
    """A snapshot was asked for and there is nothing to put into it."""


@dataclass(frozen=True, slots=True)
class FrozenSnapshot:
    """A frozen snapshot. `left_out` counts preferences that a cap or the limit kept out."""

    id: str
    path: Path
    pairs: int
    left_out: int


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
        recipe = spec.recipe
        self.gathering = (
            Gathering(recipe, store=store, clock=clock, spec=spec, directory=directory, seed=seed)
            if isinstance(recipe, SftRecipe | KtoRecipe)
            else None
        )
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
        """Writes the snapshot that the recipe's method learns from: of the newest preferences that the caps
        allow, at most `limit` or `max_pairs`, or of as many single answers.

        The same preferences give the same snapshot. Raises NoPreferencesError when there are none.
        """
        if self.gathering is not None:
            return self._freeze_answers(self.gathering, limit, note)
        ids, pairs, left_out = self.drafted(limit)
        name, path = snapshot.write(self._directory, self._spec.name, pairs)
        now = self._clock.now()
        self._store.write(lambda c: preferences.store_snapshot(c, name, str(path), ids, note=note, now=now))
        log.info("snapshot_frozen", snapshot=name, pairs=len(pairs), left_out=left_out)
        return FrozenSnapshot(name, path, len(pairs), left_out)

    def _freeze_answers(self, gathering: Gathering, limit: int | None, note: str) -> FrozenSnapshot:
        draft = gathering.drafted(limit)
        left_out = sum(draft.left_out.values())
        if not draft.answers:
            why = f": left out are {told(draft.left_out)}" if left_out else ""
            raise NoPreferencesError(
                f"{self._spec.recipe.method} has no stored answer to learn from{why}: nothing to train on yet"
            )
        name, path = gathering.write(draft, note=note)
        return FrozenSnapshot(name, path, len(draft.answers), left_out)

    def stored(self) -> tuple[int, str]:
        """How many there are to learn from, and what they are called."""
        if self.gathering is not None:
            return len(self.gathering.drafted().answers), "answers"
        return self._store.read(preferences.count), "preferences"

    def since(self, at: float | None) -> int:
        """How many came in after `at` (None: ever) that a snapshot may be made of."""
        count = preferences.since if self.gathering is None else self.gathering.since
        return self._store.read(lambda c: count(c, at))

    def draft_into(self, directory: Path) -> tuple[str, Path, str]:
        """Writes what would be frozen now into another directory, without a row: id, file, and in words what
        is left out. Raises NoPreferencesError when there is nothing.
        """
        if self.gathering is None:
            _, pairs, left_out = self.drafted()
            capped_out = f"{left_out} preferences are left out by policy.curation's caps" if left_out else ""
            name, path = snapshot.write(directory, self._spec.name, pairs)
            return name, path, capped_out
        draft = self.gathering.drafted()
        left = told(draft.left_out)
        if not draft.answers:
            raise NoPreferencesError("no answer is stored to learn from: nothing to train on yet")
        name, path = self.gathering.write_file(draft, directory)
        return name, path, f"answers left out: {left}" if left else ""

    def drafted(self, limit: int | None = None) -> tuple[list[int], list[snapshot.Pair], int]:
        """What a snapshot would hold now: preferences, their pairs, and how many are left out.

        The order is shuffled with the seed. Raises NoPreferencesError when there are none.
        """
        stored = self._store.read(preferences.newest)
        rule = self._spec.curation
        kept = capped(stored, rule, limit=min(limit or rule.max_pairs, rule.max_pairs))
        if not kept:
            raise NoPreferencesError("no preference is stored: nothing to train on yet")
        ids = sorted(each.id for each in kept)
        random.Random(self._seed).shuffle(ids)
        pairs = self._store.read(lambda c: preferences.pairs(c, ids))
        return ids, pairs, len(stored) - len(kept)
