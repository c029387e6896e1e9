"""Snapshots of single answers, for recipes that learn from them: which go in, the file, and its row."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.log import get
from daemon.store import answers as stored
from daemon.store import preferences
from daemon.store.store import Store
from policies import answers
from policies.answers import Answer
from policies.curation import capped
from policies.policy import PolicySpec
from policies.recipes import KtoRecipe, SftRecipe
from policies.thumbs import Gathered, Offered, Why, judged, targets, told

log = get("gathering")

READ = 10
"""Times `max_pairs`: so many of the newest thumbs or scores are looked at."""


@dataclass(frozen=True, slots=True)
class AnswersDraft:
    """What a snapshot would hold, in the order of the file, and what is left out."""

    answers: tuple[Answer, ...]
    left_out: Mapping[Why, int]


class Gathering:
    """Drafts and writes snapshots of answers. The same answers give the same snapshot."""

    def __init__(
        self,
        recipe: SftRecipe | KtoRecipe,
        *,
        store: Store,
        clock: Clock,
        spec: PolicySpec,
        directory: Path,
        seed: int,
    ) -> None:
        self._recipe = recipe
        self._store = store
        self._clock = clock
        self._spec = spec
        self._directory = directory
        self._seed = seed

    def drafted(self, limit: int | None = None) -> AnswersDraft:
        """What a snapshot would hold now, at most `limit` or `max_pairs`, shuffled with the seed."""
        rule = self._spec.curation
        found = self._store.read(self._found)
        kept = capped(found.learned, rule, limit=min(limit or rule.max_pairs, rule.max_pairs))
        left_out = Counter(found.left_out) + Counter({Why.CAPPED: len(found.learned) - len(kept)})
        chosen = sorted((each.answer for each in kept), key=lambda answer: (answer.candidate, answer.kind))
        random.Random(self._seed).shuffle(chosen)
        return AnswersDraft(tuple(chosen), left_out)

    def write(self, draft: AnswersDraft, *, note: str = "") -> tuple[str, Path]:
        """Writes the snapshot of a draft, durably, and then its row; answers (id, path)."""
        name, path = self.write_file(draft, self._directory)
        now = self._clock.now()
        candidates = [answer.candidate for answer in draft.answers]
        left_out = told(draft.left_out)
        whole = "; ".join(part for part in (note, f"left out: {left_out}" if left_out else "") if part)
        self._store.write(
            lambda c: preferences.store_snapshot(c, name, str(path), [], note=whole, now=now,
                                                 candidate_ids=candidates)
        )  # fmt: skip
        log.info("snapshot_frozen", snapshot=name, answers=len(candidates), left_out=left_out)
        return name, path

    def write_file(self, draft: AnswersDraft, directory: Path) -> tuple[str, Path]:
        """The file alone."""
        return answers.write(directory, self._spec.name, draft.answers)

    def since(self, connection: Connection, at: float | None) -> int:
        """How much was stored after `at` (None: ever) that such a snapshot may be made of."""
        counts = {
            "thumbs": stored.commented_since,
            "scores": stored.scored_since,
            "best": preferences.since,
            "corrections": stored.corrected_since,
        }
        recipe = self._recipe
        asked: str
        if isinstance(recipe, KtoRecipe):
            asked, both = recipe.source, ("thumbs", "scores")
        else:
            asked, both = recipe.targets, ("best", "corrections")
        return sum(counts[name](connection, at) for name in (both if asked == "both" else (asked,)))

    def _found(self, connection: Connection) -> Gathered:
        if isinstance(self._recipe, KtoRecipe):
            return judged(self._judged(connection, self._recipe), self._recipe)
        return targets(self._targets(connection, self._recipe), self._recipe)

    def _judged(self, connection: Connection, recipe: KtoRecipe) -> Sequence[Offered]:
        most = READ * self._spec.curation.max_pairs
        found: list[Offered] = []
        if recipe.source != "scores":
            found += stored.thumbs(connection, recipe.feedback, limit=most)
        if recipe.source != "thumbs":
            found += stored.scores(connection, limit=most)
        return found

    def _targets(self, connection: Connection, recipe: SftRecipe) -> Sequence[Offered]:
        most = READ * self._spec.curation.max_pairs
        found: list[Offered] = []
        if recipe.targets != "best":
            found += stored.corrections(connection, limit=most)
        if recipe.targets != "corrections":
            ids = [each.id for each in preferences.newest(connection, limit=most)]
            found += stored.chosen(connection, ids)
        return found
