"""Giving prompts to the policy's process, which one of them may kill.

Logs are anybody's, and a process that loads a model can die of what they hold: of memory, of a bug, of the
time it takes. The batch is halved until the prompt that does it is alone; then it is set aside, and the
others are answered. What is suspected is in the store, so that it outlives this process, which the same
prompt may take with it. A process that dies on a plain question too dies of something else: then nobody is
suspected, and it is tried again later.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from connectors.base import PLAIN_QUESTION
from connectors.errors import TransientError
from daemon.children.policy import SamplerDiedError
from daemon.clock import Clock
from daemon.log import get
from daemon.store import trials
from daemon.store.candidates import StoredPrompt
from daemon.store.store import Store
from policies.records import Split
from policies.trials import ALONE_TWICE, together

T = TypeVar("T")
Work = Callable[[Sequence[StoredPrompt]], T]

PLAIN = StoredPrompt(0, "plain question", "", Split.TRAIN, PLAIN_QUESTION)
"""It is no trace's prompt, and its answers are thrown away."""

log = get("trials")


class DiesOnAnythingError(TransientError):
    """The policy's process dies on a plain question: no prompt is at fault."""


@dataclass(frozen=True, slots=True)
class GivenBatch(Generic[T]):
    """What became of prompts: their result; or None, because the process died on them, or because the only
    one was set aside, for a reason.
    """

    prompts: Sequence[StoredPrompt]
    result: T | None
    set_aside: str | None = None


class Trials:
    """Gives prompts to the policy, as many at once as their trials allow."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def give(self, prompts: Sequence[StoredPrompt], work: Work[T]) -> GivenBatch[T]:
        """Does the work on the first prompts, oldest first.

        What the work raises is raised, and no prompt is suspected for it. SamplerDiedError is not raised, but
        DiesOnAnythingError where it dies on a plain question as well.
        """
        batch = prompts[: together([prompt.trial for prompt in prompts])]
        if batch[0].trial == ALONE_TWICE:
            self._make_sure(work)
            return self._set_aside(batch[0])
        self._store.write(lambda c: trials.begin(c, batch))
        try:
            return GivenBatch(batch, work(batch))
        except SamplerDiedError as error:
            if all(prompt.trial is None for prompt in batch):
                self._make_sure(work)
            log.warning("policy_died", prompts=len(batch), error=str(error))
            return GivenBatch(batch, None)
        except BaseException:
            self._store.write(lambda c: trials.restore(c, batch))
            raise

    def _make_sure(self, work: Work[T]) -> None:
        """Raises DiesOnAnythingError where the process dies on a plain question."""
        try:
            work([PLAIN])
        except SamplerDiedError as error:
            self._store.write(trials.acquit_all)
            raise DiesOnAnythingError(f"it dies on a plain question as well: {error}") from error

    def _set_aside(self, prompt: StoredPrompt) -> GivenBatch[T]:
        reason = "the process that answered it died of it, twice while it was alone"
        closed = self._store.write(
            lambda c: trials.set_aside(c, prompt, reason=reason, now=self._clock.now())
        )
        log.warning("prompt_set_aside", event_id=prompt.event_id, trace=prompt.trace_id, reason=reason)
        return GivenBatch([prompt], None, reason if closed else None)
