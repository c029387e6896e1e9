"""Both policies' answers to gate prompts, whatever one of the prompts does to the process that compares.

A prompt that kills it must not hold every adapter for ever: after a death the prompts are compared in ever
smaller batches, whose answers are thrown away, until it is found and set aside (`trials`).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from daemon.children.trials import DiesOnAnythingError, Trials
from daemon.clock import Clock
from daemon.metrics.registry import Metrics
from daemon.store import trials
from daemon.store.candidates import StoredPrompt
from daemon.store.evaluations import Evaluation
from daemon.store.store import Store
from policies.records import digest
from policies.states import PromptOutcome
from policies.training.jobs import CompareResult


class Compare(Protocol):
    """Answers gate prompts with the candidate and the stable adapter (None: the base model).

    It blocks and may take minutes. A run that failed is a result with its state and reason; raises
    ConnectorError or RlaifdError where it could not be run, SamplerDiedError where a prompt may have killed
    it.
    """

    def __call__(
        self, prompts: Sequence[StoredPrompt], *, candidate: str, stable: str | None, seed: int
    ) -> CompareResult: ...


class Comparing:
    """Runs the comparison of an attempt, and counts what came of it."""

    def __init__(self, *, store: Store, clock: Clock, metrics: Metrics, compare: Compare, seed: int) -> None:
        self._store = store
        self._metrics = metrics
        self._compare = compare
        self._seed = seed
        self._trials = Trials(store=store, clock=clock)

    def compared(self, evaluation: Evaluation, prompts: Sequence[StoredPrompt]) -> CompareResult | None:
        """The comparison on all prompts, or that it failed; None: a part of them was searched for the one on
        which the process died before, and there is more to do.
        """
        suspects = [prompt for prompt in prompts if prompt.trial is not None]
        try:
            tried = self._trials.give(suspects or prompts, self._work(evaluation))
        except DiesOnAnythingError as error:
            return CompareResult(state="failed", reason=str(error))
        if tried.set_aside is not None:
            self._metrics.sampling_prompts.labels(PromptOutcome.SET_ASIDE).inc()
        if tried.result is None:
            died = CompareResult(state="failed", reason="the process that compares the policies died")
            return None if suspects else died
        done = tried.result.state == "done"
        note = trials.acquit if done else trials.restore
        self._store.write(lambda c: note(c, tried.prompts))
        if suspects and done:
            return None
        if done:
            self._count(tried.result, len(prompts))
        return tried.result

    def _work(self, evaluation: Evaluation) -> Callable[[Sequence[StoredPrompt]], CompareResult]:
        seed = int(digest({"seed": self._seed, "evaluation": evaluation.id})[:8], 16)

        def work(prompts: Sequence[StoredPrompt]) -> CompareResult:
            return self._compare(prompts, candidate=evaluation.adapter, stable=evaluation.stable, seed=seed)

        return work

    def _count(self, result: CompareResult, prompts: int) -> None:
        for origin, answers in (("challenger", result.candidate), ("stable", result.stable)):
            found = [answer.cut for answer in answers if answer is not None]
            self._metrics.answered(origin, whole=found.count(False), cut=found.count(True))
        self._metrics.sampling_prompts.labels(PromptOutcome.REFUSED).inc(len(result.refused))
        self._metrics.sampling_prompts.labels(PromptOutcome.ANSWERED).inc(prompts - len(result.refused))
