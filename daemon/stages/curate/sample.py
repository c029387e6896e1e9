"""The first part of the curate stage: candidates where they are missing.

Sampling runs outside any transaction; its answers, the marks on their traces and the requests to judge them
are committed together. No prompt holds up the others: one that is refused is done with, and one that kills
what samples is found and set aside (`trials`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

from sqlalchemy import Connection

from connectors.base import Samples
from daemon.children.trials import Trials
from daemon.clock import Clock
from daemon.errors import HaltedError, RlaifdError
from daemon.latch import Halts
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.stages.curate.due import NONE_ASKED_FOR, few
from daemon.store import candidates, rollouts
from daemon.store.candidates import StoredPrompt
from daemon.store.judgements import Wanted, request
from daemon.store.labels import PUT_TO_PEOPLE
from daemon.store.store import Store
from policies.curation import review_pairs
from policies.judging.judges import NamedJudge, of_roles
from policies.policy import PolicySpec
from policies.records import Origin, Role, Scope, digest
from policies.states import PromptOutcome, Purpose

log = get("sampling")


class Sample(Protocol):
    """Samples `count` answers to each prompt from the base model with an adapter.

    A prompt that cannot be answered has none, and its reason. It blocks, may take minutes, and raises
    ConnectorError or RlaifdError; SamplerDiedError where a prompt may have killed it.
    """

    def __call__(
        self, prompts: Sequence[StoredPrompt], *, count: int, adapter: str | None, seed: int
    ) -> Samples: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """What sampling did: prompts that were answered, answers and how many of them were cut off, prompts that
    were refused or set aside with the first reason, and how often the process died.
    """

    prompts: int = 0
    answers: int = 0
    cut: int = 0
    refused: int = 0
    set_aside: int = 0
    deaths: int = 0
    reason: str = ""

    def __add__(self, other: "Batch") -> "Batch":
        counts = (each.name for each in fields(self) if each.name != "reason")
        return Batch(
            **{name: getattr(self, name) + getattr(other, name) for name in counts},
            reason=self.reason or other.reason,
        )

    @property
    def did(self) -> int:
        """How much was done: prompts done with, or a step on the way to the one at fault."""
        return self.prompts + self.refused + self.set_aside + self.deaths


@dataclass(frozen=True, slots=True)
class Batching:
    """When a batch is due. Starting a sampler is dear, so sampling waits until `least` prompts are there or
    the oldest has waited `patience_s`; it takes at most `most` at a time.
    """

    least: int = 32
    most: int = 512
    patience_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Generation:
    """What answers come from. `device` says what else has the device, "" where it is free: a batch that
    waited there would hold up all that comes after it.
    """

    sample: Sample
    seed: int = 0
    device: Callable[[], str] = str


class Sampling:
    """Samples answers to prompts that lack them, and asks for their judgements.

    `judges` are the configured ones. `totals` is what this object sampled.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        spec: PolicySpec,
        judges: Sequence[NamedJudge],
        halts: Halts,
        generation: Generation,
        batching: Batching,
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._spec = spec
        self._scoring = of_roles(judges, Role.SMALL)
        self._comparing = of_roles(judges, Role.LARGE, Role.GATE)
        self._halts = halts
        self._generation = generation
        self._batching = batching
        self._trials = Trials(store=store, clock=clock)
        self.totals = Batch()

    def step(self, *, at_once: bool = False) -> int:
        """Samples answers to prompts that lack them and asks for their judgements; returns how much was done.

        Nothing is sampled while judging is halted: nobody would look at it.
        """
        if self.waits_for(at_once=at_once) is not None:
            return 0
        prompts = self._store.read(lambda c: candidates.unsampled(c, limit=self._batching.most))
        if not prompts:
            return 0
        batch = self._sampled(prompts)
        self.totals += batch
        outcomes = (
            (PromptOutcome.ANSWERED, batch.prompts),
            (PromptOutcome.REFUSED, batch.refused),
            (PromptOutcome.SET_ASIDE, batch.set_aside),
        )
        for outcome, number in outcomes:
            self._metrics.sampling_prompts.labels(outcome).inc(number)
        return batch.did

    def waits_for(self, *, at_once: bool = False) -> str | None:
        """Why nothing is sampled now, in a line; None: prompts are due."""
        if self._spec.sampling.candidates == 0:
            return NONE_ASKED_FOR
        waiting = self._store.read(lambda c: candidates.waiting(c, most=self._batching.least))
        now, patience_s = self._clock.now(), 0.0 if at_once else self._batching.patience_s
        too_few = few(waiting, now=now, least=self._batching.least, patience_s=patience_s)
        if too_few is not None:
            return too_few
        try:
            self._halts.check(Scope.JUDGING)
        except HaltedError as error:
            return str(error)
        return self._generation.device() or None

    def _sampled(self, prompts: Sequence[StoredPrompt]) -> Batch:
        """Samples the oldest of these prompts, as many at once as may be, and stores what comes of it."""
        stable = self._store.read(rollouts.in_force).stable
        name = f"{stable or 'base'}:{prompts[0].trace_id}"
        count, generation = self._spec.sampling.candidates, self._generation
        seed = _seed(generation.seed, name)

        def work(batch: Sequence[StoredPrompt]) -> Samples:
            samples = generation.sample(batch, count=count, adapter=stable, seed=seed)
            _check(samples, prompts=len(batch), count=count)
            return samples

        tried = self._trials.give(prompts, work)
        if tried.set_aside is not None:
            return Batch(set_aside=1, reason=tried.set_aside)
        if tried.result is None:
            return Batch(deaths=1)
        return self._stored(tried.prompts, tried.result, stable or "", name)

    def _stored(self, prompts: Sequence[StoredPrompt], samples: Samples, adapter: str, name: str) -> Batch:
        fresh, asked = self._store.write(lambda c: self._commit(c, prompts, samples, adapter, name))
        kept = [index for index, prompt in enumerate(prompts) if prompt.trace_id in fresh]
        answers = [answer for index in kept for answer in samples.answers[index]]
        refused = [samples.refused.get(index, "") for index in kept if not samples.answers[index]]
        batch = Batch(
            prompts=len(kept) - len(refused),
            answers=len(answers),
            cut=sum(answer.cut for answer in answers),
            refused=len(refused),
            reason=next(iter(refused), ""),
        )
        self._metrics.answered("sampled", whole=batch.answers - batch.cut, cut=batch.cut)
        fields = {"refused": batch.refused, "reason": batch.reason} if refused else {}
        log.info(
            "candidates_sampled",
            prompts=len(kept),
            answers=batch.answers,
            cut=batch.cut,
            judgements=asked,
            batch=name,
            **fields,
        )
        return batch

    def _commit(
        self,
        connection: Connection,
        prompts: Sequence[StoredPrompt],
        samples: Samples,
        adapter: str,
        batch: str,
    ) -> tuple[frozenset[int], int]:
        """The traces that got these answers, and how many judgements were asked for."""
        now = self._clock.now()
        given = [(prompt.trace_id, found) for prompt, found in zip(prompts, samples.answers, strict=True)]
        refused = {prompts[index].trace_id: reason for index, reason in samples.refused.items()}
        fresh = candidates.store_sampled(
            connection, given, adapter=adapter, batch=batch, now=now, refused=refused
        )
        by_id = {prompt.trace_id: prompt for prompt in prompts}
        wanted = self._wanted(connection, [by_id[trace_id] for trace_id in fresh])
        return frozenset(fresh), request(connection, wanted, now)

    def _wanted(self, connection: Connection, prompts: Sequence[StoredPrompt]) -> list[Wanted]:
        ids = [prompt.trace_id for prompt in prompts]
        known = candidates.scored_or_asked(connection, ids)
        found = candidates.answers_of(connection, ids)
        wanted: list[Wanted] = []
        for prompt in prompts:
            answers = found[prompt.trace_id]
            wanted += [
                Wanted(judge, "score", Purpose.CURATE, prompt.trace_id, answer.id)
                for judge in self._scoring
                for answer in answers
                if answer.id not in known and answer.origin in {Origin.LOGGED, Origin.SAMPLED}
            ]
            if prompt.split in PUT_TO_PEOPLE:
                wanted += self._comparisons(prompt, {answer.id: answer.text for answer in answers})
        return wanted

    def _comparisons(self, prompt: StoredPrompt, texts: dict[int, str]) -> list[Wanted]:
        """The pairs that people label, put to the judges that compare."""
        limit = self._spec.judging.review_pairs
        pairs, probability = review_pairs(texts, salt=prompt.event_id, limit=limit)
        return [
            Wanted(judge, "pair", Purpose.AUDIT, prompt.trace_id, a, b, probability=probability)
            for a, b in pairs
            for judge in self._comparing
        ]


def _seed(seed: int, batch: str) -> int:
    return int(digest({"seed": seed, "batch": batch})[:8], 16)


def _check(samples: Samples, *, prompts: int, count: int) -> None:
    answers = samples.answers
    if len(answers) != prompts or any(len(each) not in {0, count} for each in answers):
        raise RlaifdError(f"the sampler answered other than {count} answers to each of {prompts} prompts")
