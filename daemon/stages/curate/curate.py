"""The curate stage: candidates where they are missing, preferences from what was judged, frozen snapshots.

Every part can be killed anywhere and run again. A preference is unique on its two candidates, a snapshot on
its content.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from daemon.clock import Clock
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.stages.curate.freeze import Freezing, FrozenSnapshot
from daemon.stages.curate.hearing import Hearing
from daemon.stages.curate.sample import Halts, Sample, Sampling
from daemon.store import preferences
from daemon.store.store import Store
from policies.curation import JudgedPrompt, NoPreference, Preference, preference_of
from policies.judging.judges import NamedJudge
from policies.likeness import Sketch, sketch_of
from policies.policy import PolicySpec

log = get("curate")

CURATED_AT_ONCE = 500


class Curate:
    """Samples candidates, has them judged, and turns verdicts and users' corrections into preferences and
    snapshots.

    `sampling` is the first part of it, with its own arguments, `freezing` the last; `hearing` is what users
    do about answers.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        spec: PolicySpec,
        judges: Sequence[NamedJudge],
        sample: Sample,
        halts: Halts,
        directory: Path,
        seed: int = 0,
        least: int = 32,
        most: int = 512,
        patience_s: float = 300.0,
        device: Callable[[], str] = str,
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._spec = spec
        self.hearing = Hearing(store=store, clock=clock, rule=spec.feedback)
        self.freezing = Freezing(store=store, clock=clock, spec=spec, directory=directory, seed=seed)
        self.sampling = Sampling(
            store=store,
            clock=clock,
            metrics=metrics,
            spec=spec,
            judges=judges,
            sample=sample,
            halts=halts,
            seed=seed,
            least=least,
            most=most,
            patience_s=patience_s,
            device=device,
        )

    def step(self, *, at_once: bool = False) -> int:
        """Hears, samples and curates once, as far as there is something to do; returns how much was done.

        `at_once`: without waiting for more prompts to sample with.
        """
        return self.hearing.step() + self.sample(at_once=at_once) + self.curate()

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
        sketches = self._sketches(prompts, made)
        looked_at = [prompt.trace_id for prompt in prompts]
        now = self._clock.now()
        new = self._store.write(
            lambda c: preferences.store_preferences(c, made, looked_at=looked_at, sketches=sketches, now=now)
        )
        self._metrics.preferences.set(self._store.read(preferences.count))
        without = [each.reason for each in found if isinstance(each, NoPreference)]
        told = {"reason": without[0]} if without else {}
        log.info("preferences_stored", prompts=len(prompts), new=new, without=len(without), **told)
        return len(prompts)

    def _sketches(self, prompts: Sequence[JudgedPrompt], made: Sequence[Preference]) -> dict[int, Sketch]:
        """By trace, what each preference's prompt and answers read like."""
        texts = {each.candidate_id: each.text for prompt in prompts for each in prompt.candidates}
        asked = self._store.read(lambda c: preferences.prompts(c, [each.trace_id for each in made]))
        return {
            each.trace_id: sketch_of((*asked[each.trace_id], texts[each.chosen_id], texts[each.rejected_id]))
            for each in made
        }

    def freeze(self, limit: int | None = None, *, note: str = "") -> FrozenSnapshot:
        """Writes the snapshot of what is curated and heard; see `Freezing.freeze`."""
        self.hearing.all()
        return self.freezing.freeze(limit, note=note)
