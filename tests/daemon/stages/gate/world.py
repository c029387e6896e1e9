"""An evaluate stage with its surroundings: a store, a comparison as told, and a judge that decides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import update

from daemon.children.policy import SamplerDiedError
from daemon.clock import FakeClock
from daemon.errors import AdapterRefusedError
from daemon.metrics.registry import Metrics
from daemon.stages.gate.compare import Comparing
from daemon.stages.gate.evaluate import Advance, Evaluate
from daemon.store.candidates import StoredPrompt
from daemon.store.store import Store
from daemon.store.tables import HaltRow
from policies.policy import PolicySpec
from policies.records import Role, Sampled, Split
from policies.training.jobs import CompareResult
from tests.daemon.stages.halts import FakeHalts
from tests.daemon.stages.seeding import (
    ROLES,
    Asked,
    Within,
    add_labelled,
    add_traces,
    at_once,
    by_length,
    judge,
    lenient,
    put,
    sampled,
    table,
)
from tests.judges import all_of

NAME = "test-aaa"


@dataclass
class FakeComparer:
    """A candidate that says more than the stable policy, with figures that a test may change."""

    calls: list[tuple[list[str], str, str | None, int]] = field(default_factory=list)
    candidate: Callable[[int], str] = lambda index: f"a longer and kinder answer {index}"
    stable: Callable[[int], str] = lambda index: f"short {index}"
    figures: dict[str, Any] = field(default_factory=dict)
    kills: set[str] = field(default_factory=set)
    """Prompts on which the process dies; "*": it dies on any."""
    refuses: dict[str, str] = field(default_factory=dict)
    """Prompts that are refused, with the reason."""
    cut: tuple[Callable[[int], bool], Callable[[int], bool]] = (lambda index: False, lambda index: False)
    """Whose answers are cut off: the candidate's and the stable policy's."""
    before: Callable[[], object] = lambda: None

    def __call__(
        self, prompts: Sequence[StoredPrompt], *, candidate: str, stable: str | None, seed: int
    ) -> CompareResult:
        names = [prompt.event_id for prompt in prompts]
        self.calls.append((names, candidate, stable, seed))
        self.before()
        if self.kills & {*names, "*"}:
            raise SamplerDiedError("was killed by SIGKILL")
        values: dict[str, Any] = {
            "state": "done",
            "kl_sequence": 5.0,
            "kl_token": 0.5,
            "entropy_stable": 0.52,
            "entropy_candidate": 0.53,
            **self.figures,
        }
        return CompareResult(
            **values,
            stable=self._answers(names, self.stable, self.cut[1]),
            candidate=self._answers(names, self.candidate, self.cut[0]),
            refused={at: self.refuses[name] for at, name in enumerate(names) if name in self.refuses},
        )

    def _answers(
        self, names: Sequence[str], said: Callable[[int], str], cut: Callable[[int], bool]
    ) -> tuple[Sampled | None, ...]:
        return tuple(
            None if name in self.refuses else sampled(said(index), truncated=cut(index))
            for index, name in enumerate(names)
        )


@dataclass
class World:
    """Everything around the stage. `stage()` may be called again: that is a restart."""

    store: Store
    clock: FakeClock
    comparer: FakeComparer = field(default_factory=FakeComparer)
    halts: FakeHalts = field(default_factory=FakeHalts)
    metrics: Metrics = field(default_factory=Metrics)
    refused: dict[str, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()

    def stage(self, policy: PolicySpec | None = None, *, roles: frozenset[Role] = ROLES) -> Evaluate:
        return Evaluate(
            store=self.store,
            clock=self.clock,
            metrics=self.metrics,
            spec=policy or lenient(),
            comparing=Comparing(
                store=self.store, clock=self.clock, metrics=self.metrics, compare=self.comparer, seed=0
            ),
            judges=all_of(roles),
            verify=self.verify,
            halts=self.halts,
            overrides=self.overrides,
        )

    def verify(self, name: str) -> None:
        if name in self.refused:
            raise AdapterRefusedError(self.refused[name])

    def run(self, opinion: Callable[[Asked], dict[str, Any] | None] = by_length) -> Advance:
        """Steps and judges, each step in a stage of its own, until a decision."""
        for _ in range(40):
            done = self.stage().advance()
            if done is not None and done.decision is not None:
                return done
            judge(self.store, opinion)
        raise AssertionError("no decision")

    def gauge(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"rlaifd_{name}", labels)


def seeded(store: Store, *, gate: int = 20, labelled: int = 30) -> None:
    """Gate prompts and labelled audit prompts on which every judge agrees with people."""

    def _work(to: Within) -> None:
        add_traces(to, [f"gate{index}" for index in range(gate)], Split.GATE)
        if labelled:
            add_labelled(to, {f"audit{index}": True for index in range(labelled)})

    at_once(store, _work)


def halted(world: World) -> None:
    """Promotion is halted, in the store."""
    put(
        world.store,
        HaltRow,
        scope="promotion",
        reason="drill",
        source="operator",
        actor="ann",
        fingerprint="drill",
        starts_at="",
        created_at=0.0,
    )


def resumed(world: World) -> None:
    """Every halt in the store is over."""
    world.store.write(lambda c: c.execute(update(table(HaltRow)).values(resumed_at=1.0)))
