"""The curate stage: candidates where they are missing, preferences from what was judged, frozen snapshots.

Every part can be killed anywhere and run again. Sampling runs outside any transaction; its answers, the marks
on their traces and the requests to judge them are committed together. A preference is unique on its two
candidates, a snapshot on its content.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.errors import HaltedError, RlaifdError
from daemon.log import get
from daemon.metrics import Metrics
from daemon.store import candidates, preferences, rollouts
from daemon.store.candidates import Prompt
from daemon.store.judgements import Wanted, request
from daemon.store.store import Store
from policies import snapshot
from policies.curation import NoPreference, Preference, capped, preference_of, review_pairs
from policies.policy import PolicySpec
from policies.records import Origin, Role, Sampled, Scope, Split, digest

log = get("curate")

CURATED_AT_ONCE = 500


class Sample(Protocol):
    """Samples `count` answers to each prompt, in prompt order, from the base model with an adapter.

    A prompt that cannot be answered has none. It blocks, may take minutes, and raises ConnectorError or
    RlaifdError.
    """

    def __call__(
        self, prompts: Sequence[Prompt], *, count: int, adapter: str | None, seed: int
    ) -> Sequence[Sequence[Sampled]]: ...


class Halts(Protocol):
    """The part of the latch that a stage asks."""

    def check(self, scope: Scope) -> None: ...


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

    `roles` are the configured judges. Starting a sampler is dear, so sampling waits until `least` prompts are
    there or the oldest has waited `patience_s`; it takes at most `most` at a time.
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
        self._roles = roles
        self._sample = sample
        self._halts = halts
        self._directory = directory
        self._seed = seed
        self._least = least
        self._most = most
        self._patience_s = patience_s

    def step(self) -> int:
        """Samples once and curates once, as far as there is something to do; answers how many prompts."""
        return self.sample() + self.curate()

    def sample(self) -> int:
        """Samples answers to prompts that lack them and asks for their judgements; answers how many prompts.

        Nothing is sampled while judging is halted: nobody would look at it.
        """
        if not self._due():
            return 0
        try:
            self._halts.check(Scope.JUDGING)
        except HaltedError as error:
            log.info("sampling_skipped", reason=str(error))
            return 0
        prompts = self._store.read(lambda c: candidates.unsampled(c, limit=self._most))
        if not prompts:
            return 0
        stable = self._store.read(rollouts.in_force).stable
        batch = f"{stable or 'base'}:{prompts[0].trace_id}"
        count = self._spec.sampling.candidates
        seed = _seed(self._seed, batch)
        answers = self._sample(prompts, count=count, adapter=stable, seed=seed)
        _check(answers, prompts=len(prompts), count=count)
        stored, asked = self._store.write(lambda c: self._commit(c, prompts, answers, stable or "", batch))
        refused = sum(not each for each in answers)
        log.info("candidates_sampled", prompts=stored, judgements=asked, refused=refused, batch=batch)
        return stored

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
        refused = sum(isinstance(each, NoPreference) for each in found)
        log.info("preferences_stored", prompts=len(prompts), new=new, without=refused)
        return len(prompts)

    def freeze(self, limit: int | None = None, *, note: str = "") -> FrozenSnapshot:
        """Writes the snapshot of the newest preferences that the caps allow, at most `limit` or `max_pairs`.

        The same preferences give the same snapshot. Raises NoPreferencesError when there are none.
        """
        ids, pairs, left_out = self.drafted(limit)
        name, path = snapshot.write(self._directory, self._spec.name, pairs)
        now = self._clock.now()
        self._store.write(lambda c: preferences.store_snapshot(c, name, str(path), ids, note=note, now=now))
        log.info("snapshot_frozen", snapshot=name, pairs=len(pairs), left_out=left_out)
        return FrozenSnapshot(name, path, len(pairs), left_out)

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

    def _due(self) -> bool:
        if self._spec.sampling.candidates == 0:
            return False
        waiting = self._store.read(lambda c: candidates.waiting(c, most=self._least))
        if waiting.oldest is None:
            return False
        return waiting.prompts >= self._least or self._clock.now() - waiting.oldest >= self._patience_s

    def _commit(
        self,
        connection: Connection,
        prompts: Sequence[Prompt],
        answers: Sequence[Sequence[Sampled]],
        adapter: str,
        batch: str,
    ) -> tuple[int, int]:
        now = self._clock.now()
        given = [(prompt.trace_id, answered) for prompt, answered in zip(prompts, answers, strict=True)]
        fresh = candidates.store_sampled(connection, given, adapter=adapter, batch=batch, now=now)
        by_id = {prompt.trace_id: prompt for prompt in prompts}
        wanted = self._wanted(connection, [by_id[trace_id] for trace_id in fresh])
        return len(fresh), request(connection, wanted, now)

    def _wanted(self, connection: Connection, prompts: Sequence[Prompt]) -> list[Wanted]:
        ids = [prompt.trace_id for prompt in prompts]
        known = candidates.scored_or_asked(connection, ids)
        found = candidates.answers_of(connection, ids)
        wanted: list[Wanted] = []
        for prompt in prompts:
            answers = found[prompt.trace_id]
            wanted += [
                Wanted(Role.SMALL, "score", "curate", prompt.trace_id, answer.id)
                for answer in answers
                if answer.id not in known and answer.origin in {Origin.LOGGED, Origin.SAMPLED}
            ]
            if prompt.split is Split.AUDIT:
                wanted += self._comparisons(prompt, {answer.id: answer.text for answer in answers})
        return wanted

    def _comparisons(self, prompt: Prompt, texts: dict[int, str]) -> list[Wanted]:
        """The pairs that people label, put to the judges that compare."""
        limit = self._spec.judging.review_pairs
        pairs, probability = review_pairs(texts, salt=prompt.event_id, limit=limit)
        return [
            Wanted(role, "pair", "audit", prompt.trace_id, a, b, probability=probability)
            for a, b in pairs
            for role in (Role.LARGE, Role.GATE)
            if role in self._roles
        ]


def _seed(seed: int, batch: str) -> int:
    return int(digest({"seed": seed, "batch": batch})[:8], 16)


def _check(answers: Sequence[Sequence[Sampled]], *, prompts: int, count: int) -> None:
    if len(answers) != prompts or any(len(each) not in {0, count} for each in answers):
        raise RlaifdError(f"the sampler answered other than {count} answers to each of {prompts} prompts")
