"""Has the large judge score what a run under way answers.

The child writes its answers beside its job and says so; they are put into the store as judgements like any
other, first in the large judge's queue and out of its budget, and the judge stage of whichever daemon makes
them. What it gave is written beside the answers, where the child looks. A judge that cannot answer keeps
nobody waiting: there is then no figure, and the run says so.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from daemon.clock import Clock
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.store import soundings
from daemon.store.soundings import SoundingScores
from daemon.store.store import Store
from policies.judging.judges import NamedJudge
from policies.states import SoundingState
from policies.training.jobs import Progress
from policies.training.soundings import Heard, Sounding, sounding_at, write_heard

LOOK_S = 1.0
"""How often at most it is looked whether the judge has answered."""

log = get("trainer")


class Soundings:
    """One run's, in its directory. `follow` is told whatever the child reports."""

    def __init__(
        self,
        run: str,
        directory: Path,
        *,
        store: Store,
        metrics: Metrics,
        clock: Clock,
        judges: Sequence[NamedJudge],
    ) -> None:
        self._run = run
        self._judges = judges
        self._directory = directory
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._open: dict[int, Sounding] = {}
        self._known: set[int] = set()
        self._looked = time.monotonic()
        for state in SoundingState:
            metrics.training_soundings.labels(state).set(0)
        metrics.training_diverged.set(0)
        metrics.training_divergence.clear()

    def follow(self, progress: Progress) -> None:
        """Takes one line of progress."""
        if progress.event == "sounded" and progress.step not in self._known:
            self._ask(progress.step)
        if progress.event == "divergence":
            self._show(progress)
        if self._open and time.monotonic() - self._looked > LOOK_S:
            self.look()

    def look(self) -> None:
        """Writes what the judge gave of each step of which nothing is to come any more."""
        self._looked = time.monotonic()
        for step, sounding in list(self._open.items()):
            found = self._found(sounding)
            if found.waiting:
                continue
            heard = Heard(step=step, scores=dict(found.scores), missing=dict(found.missing))
            write_heard(self._directory, heard)
            del self._open[step]
            self._metrics.training_soundings.labels(SoundingState.HEARD).inc()
            log.info("sounding_heard", run=self._run, step=step, scores=len(heard.scores), **_why(heard))

    def close(self) -> None:
        """Gives up what nobody waits for any more: the run has ended."""
        now = self._clock.now()
        left = self._store.write(lambda c: soundings.close(c, run=self._run, now=now)) if self._known else 0
        self._metrics.training_soundings.labels(SoundingState.UNHEARD).set(len(self._open))
        if self._open:
            log.warning("soundings_unheard", run=self._run, steps=sorted(self._open), judgements=left)

    def _ask(self, step: int) -> None:
        self._known.add(step)
        sounding = sounding_at(self._directory, step)
        if sounding is None:
            log.warning("sounding_unreadable", run=self._run, step=step)
            return
        answers = {each.trace: each.answer for each in sounding.answers if each.reward is not None}
        now = self._clock.now()
        new = self._store.write(
            lambda c: soundings.ask(
                c, run=self._run, step=step, answers=answers, judges=self._judges, now=now
            )
        )
        self._open[step] = sounding
        self._metrics.training_soundings.labels(SoundingState.ASKED).inc()
        log.info("sounding_asked", run=self._run, step=step, judgements=new)

    def _found(self, sounding: Sounding) -> SoundingScores:
        traces = [each.trace for each in sounding.answers if each.reward is not None]
        return self._store.read(
            lambda c: soundings.found(c, run=self._run, step=sounding.step, traces=traces)
        )

    def _show(self, progress: Progress) -> None:
        """Sets the gauges; a look without a verdict leaves those of the last one."""
        figures = progress.metrics
        for view in ("reward", "judge"):
            if view in figures:
                self._metrics.training_divergence.labels(view).set(figures[view])
        if "judge" in figures:
            self._metrics.training_diverged.set(figures.get("diverged", 0.0))
        elif progress.note:
            log.warning("sounding_without_verdict", run=self._run, step=progress.step, reason=progress.note)


def _why(heard: Heard) -> dict[str, object]:
    return {"missing": dict(heard.missing)} if heard.missing else {}
