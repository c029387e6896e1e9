"""The curate stage: candidates where they are missing, and preferences from what was judged.

Both parts can be killed anywhere and run again. A preference is unique on its two candidates.
"""

from collections.abc import Sequence

from daemon.clock import Clock
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.stages.curate.sample import Sampling
from daemon.store import preferences
from daemon.store.store import Store
from policies.curation import JudgedPrompt, NoPreference, Preference, preference_of
from policies.likeness import Sketch, sketch_of
from policies.policy import CurationRule

log = get("curate")

CURATED_AT_ONCE = 500


class Curate:
    """Samples candidates, has them judged, and turns verdicts into preferences. `sampling` is its first
    part.
    """

    def __init__(
        self, *, store: Store, clock: Clock, metrics: Metrics, rule: CurationRule, sampling: Sampling
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._rule = rule
        self.sampling = sampling

    def step(self, *, at_once: bool = False) -> int:
        """Samples once and curates once, as far as there is something to do; returns how much was done.

        `at_once`: without waiting for more prompts to sample with.
        """
        return self.sample(at_once=at_once) + self.curate()

    def sample(self, *, at_once: bool = False) -> int:
        """Samples answers where they are missing; see `Sampling.step`."""
        return self.sampling.step(at_once=at_once)

    def curate(self) -> int:
        """Decides on the preference of prompts whose scores are in; returns how many prompts it looked at."""
        prompts = self._store.read(lambda c: preferences.uncurated(c, limit=CURATED_AT_ONCE))
        if not prompts:
            return 0
        found = [preference_of(prompt, self._rule) for prompt in prompts]
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
