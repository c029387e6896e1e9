"""A curate stage with its surroundings: a store, a sampler as told, and what was asked of the judges."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from connectors.base import Samples
from daemon.clock import Clock, FakeClock
from daemon.metrics.registry import Metrics
from daemon.stages.curate.curate import Curate
from daemon.stages.curate.sample import Batching, Generation, Sample, Sampling
from daemon.stages.train.freeze import Freezing
from daemon.store.candidates import StoredPrompt
from daemon.store.store import Store
from daemon.store.tables import JudgementRow
from policies.policy import PolicySpec
from policies.records import Role
from tests.daemon.stages.halts import FakeHalts
from tests.daemon.stages.seeding import (
    ROLES,
    SPEC,
    rows,
    sampled,
)
from tests.judges import all_of


@dataclass
class FakeSampler:
    """Answers of growing length; remembers what it was asked, and can fail."""

    calls: list[tuple[list[str], str | None, int]] = field(default_factory=list)
    error: Exception | None = None
    words: str = "word"

    def __call__(
        self, prompts: Sequence[StoredPrompt], *, count: int, adapter: str | None, seed: int
    ) -> Samples:
        self.calls.append(([prompt.event_id for prompt in prompts], adapter, seed))
        if self.error is not None:
            raise self.error
        row = [
            sampled(" ".join(f"{self.words}{sample}" for _ in range(3 * sample + 1)))
            for sample in range(count)
        ]
        return Samples([row for _ in prompts])


def curate_of(
    store: Store,
    sample: Sample,
    *,
    policy: PolicySpec = SPEC,
    roles: frozenset[Role] = ROLES,
    batching: Batching | None = None,
    clock: Clock | None = None,
    halts: FakeHalts | None = None,
    metrics: Metrics | None = None,
) -> Curate:
    """The stage as wiring composes it."""
    clock, metrics = clock or FakeClock(), metrics or Metrics()
    sampling = Sampling(
        store=store,
        clock=clock,
        metrics=metrics,
        spec=policy,
        judges=all_of(roles),
        halts=halts or FakeHalts(),
        generation=Generation(sample),
        batching=batching or Batching(least=1),
    )
    return Curate(store=store, clock=clock, metrics=metrics, rule=policy.curation, sampling=sampling)


@dataclass
class World:
    store: Store
    clock: FakeClock
    directory: Path
    sampler: FakeSampler = field(default_factory=FakeSampler)
    halts: FakeHalts = field(default_factory=FakeHalts)
    metrics: Metrics = field(default_factory=Metrics)

    def counted(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"rlaifd_{name}", labels)

    def stage(
        self,
        policy: PolicySpec = SPEC,
        *,
        roles: frozenset[Role] = ROLES,
        least: int = 1,
        most: int = 512,
        sample: Sample | None = None,
    ) -> Curate:
        return curate_of(
            self.store,
            sample or self.sampler,
            policy=policy,
            roles=roles,
            batching=Batching(least, most),
            clock=self.clock,
            halts=self.halts,
            metrics=self.metrics,
        )

    def freezing(self, policy: PolicySpec = SPEC) -> Freezing:
        return Freezing(store=self.store, clock=self.clock, spec=policy, directory=self.directory)


def asked(store: Store) -> set[tuple[str, str, str, str]]:
    return {(row.role, row.kind, row.purpose, row.state) for row in rows(store, JudgementRow)}
