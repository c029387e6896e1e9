"""Has the policy sounded: its answers written for a judge, and what the judge gave held against the start."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from policies.policy import Guard
from policies.training.guarding import divergence
from policies.training.guarding.divergence import View
from policies.training.jobs import Divergence
from policies.training.progress import Reporter
from policies.training.soundings import (
    FOLDER,
    Heard,
    Sounded,
    Sounding,
    heard_at,
    sounding_at,
    write_sounding,
)

PATIENCE_S = 120.0
"""How long a run waits at its end for figures under way: not at all where none came for the start."""
PAUSE_S = 1.0
NO_FIGURE = "the judge gave no figure before the run ended"


class Sounder:
    """One run's. What it knows is in the job's directory, so that a run that is taken up goes on with it.

    `answer` gives the policy's fresh answers to the fixed prompts with their rewards. It is asked at the
    start, every `every` steps, and at the end; `looks` is how often that is, the start not counted.
    """

    def __init__(
        self,
        job: Path,
        answer: Callable[[], list[Sounded]],
        *,
        every: int,
        looks: int,
        guard: Guard,
        reporter: Reporter,
        stopping: Callable[[], bool],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.guard = guard
        self._job = job
        self._answer = answer
        self._every = every
        self._looks = looks
        self._reporter = reporter
        self._stopping = stopping
        self._patience_s = patience_s
        self._verdicts: dict[int, Divergence] = {}

    def due(self, step: int) -> bool:
        """Whether the policy is sounded at the step."""
        return step % self._every == 0

    def sound(self, step: int) -> None:
        """Writes what the policy answers now, unless the run did so before it was cut off."""
        known = sounding_at(self._job, step)
        if known is None:
            known = Sounding(step=step, answers=tuple(self._answer()))
            write_sounding(self._job, known)
        self._tell(step, len(known.answers))

    def again(self, step: int) -> None:
        """Tells once more of what a run that was cut off had asked up to the step, and did not hear."""
        for at in self._sounded(step):
            if heard_at(self._job, at) is None:
                self._tell(at)

    def heard(self, step: int) -> list[Divergence]:
        """The verdicts on soundings up to the step whose figures came since it was last asked."""
        found = []
        for at in self._open(step):
            verdict = self._verdict(at)
            if verdict is not None:
                self._verdicts[at] = verdict
                found.append(verdict)
        return found

    def hear_out(self, step: int) -> Iterator[Divergence]:
        """The same for what is still to come, as long as somebody judges."""
        until = time.monotonic() + self._patience_s
        yield from self.heard(step)
        while self._worth_waiting(step) and time.monotonic() < until:
            for at in self._open(step):
                self._tell(at)
            time.sleep(PAUSE_S)
            yield from self.heard(step)

    def verdicts(self, step: int) -> tuple[Divergence, ...]:
        """All of the run up to the step; of a sounding without figures it says that there is none."""
        unknown = {at: Divergence(step=at, unknown=NO_FIGURE) for at in self._open(step)}
        every = unknown | self._verdicts
        return tuple(every[at] for at in sorted(every))

    def _worth_waiting(self, step: int) -> bool:
        return bool(self._open(step)) and heard_at(self._job, 0) is not None and not self._stopping()

    def _tell(self, step: int, answers: int | None = None) -> None:
        """The daemon looks whenever it is told of something."""
        self._reporter.report("sounded", step=step, metrics={} if answers is None else {"answers": answers})

    def _open(self, step: int) -> list[int]:
        """The steps after the start that were sounded, up to this one, and have no verdict yet."""
        return [at for at in self._sounded(step) if at > 0 and at not in self._verdicts]

    def _sounded(self, step: int) -> list[int]:
        names = [path.stem for path in (self._job / FOLDER).glob("*.json")]
        return sorted(int(name) for name in names if name.isdigit() and int(name) <= step)

    def _verdict(self, step: int) -> Divergence | None:
        first, now = heard_at(self._job, 0), heard_at(self._job, step)
        if first is None or now is None:
            return None
        found = divergence.compared(step, self._views(first), self._views(now), self.guard, looks=self._looks)
        why = "; ".join(f"{count} without: {why}" for why, count in sorted(now.missing.items()))
        if found.unknown and why:
            return found.model_copy(update={"unknown": f"{found.unknown} ({why})"})
        return found

    def _views(self, heard: Heard) -> dict[int, View]:
        """What both sides said, by trace."""
        sounding = sounding_at(self._job, heard.step)
        return {
            each.trace: View(each.reward, heard.scores[each.trace])
            for each in (() if sounding is None else sounding.answers)
            if each.reward is not None and each.trace in heard.scores
        }
