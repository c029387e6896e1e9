"""A trainer with its surroundings, and children that do what a test says in their place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import select

from daemon.children.child import ChildFailedError
from daemon.clock import FakeClock
from daemon.config.settings import TrainingConfig
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.stages.train.inputs import RunInputs
from daemon.stages.train.trainer import Trainer
from daemon.store import ledger, preferences
from daemon.store.snapshots import Held
from daemon.store.store import Store
from policies import snapshot
from policies.policy import PolicySpec
from policies.recipes import DpoRecipe
from policies.training.jobs import Probe, ProbeSequence, Progress, TrainJob, TrainResult
from policies.training.layout import ADAPTER, ADAPTER_CONFIG, ADAPTER_WEIGHTS, JOB, PLAN
from tests.daemon.adapters.adapterfiles import described, source
from tests.judges import LARGE
from tests.policies.training.conftest import pair
from tests.policies.training.planning.facts import plan


class FakeChild:
    """Takes the place of a child: does what the test says, in this process."""

    def __init__(self, job: TrainJob, *, act: "Act", on_progress: Callable[[Progress], None]) -> None:
        self.job = job
        self.tell = on_progress
        self.asked = False
        self._act = act

    def stop(self) -> None:
        self.asked = True

    def run(self) -> TrainResult:
        self.job.out.mkdir(parents=True, exist_ok=True)
        (self.job.out / JOB).write_text(self.job.model_dump_json(), encoding="utf-8")
        return self._act(self)


PROBE = Probe(
    tokens_sha256="0" * 64, kl_sequence=1.5, sequences=(ProbeSequence(tokens=3, parent=-2.0, adapter=-1.5),)
)
Act = Callable[[FakeChild], TrainResult]


def succeed(child: FakeChild) -> TrainResult:
    """Leaves an adapter, and tells its steps."""
    named = child.job.served_as or child.job.base_model
    made = source(child.job.out / ADAPTER, config={"base_model_name_or_path": named})
    files = {name: described(made / name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)}
    child.tell(Progress(event="step", step=7, metrics={"loss": 0.25}))
    child.tell(Progress(event="guard", step=7, metrics={"kl_sequence": 1.5, "entropy": 0.5}))
    return TrainResult(state="done", steps=8, files=files, probe=PROBE)


def succeed_as_planned(child: FakeChild) -> TrainResult:
    """The same, by a plan that is told before the first step."""
    recipe = child.job.recipe
    assert isinstance(recipe, DpoRecipe)
    decided = plan(32, recipe)
    (child.job.out / PLAN).write_text(decided.model_dump_json(), encoding="utf-8")
    child.tell(Progress(event="planned", note=str(decided)))
    return succeed(child).model_copy(update={"plan": decided})


def crash(child: FakeChild) -> TrainResult:
    raise ChildFailedError("the train child ended with code 1: boom (log: log.txt)")


def end_as(state: Any, reason: str) -> Act:
    return lambda _: TrainResult(state=state, reason=reason, steps=3)


class Bench:
    """A trainer with its store, latch and metrics, and a snapshot to train on."""

    def __init__(
        self, store: Store, state: Path, clock: FakeClock, base_model: str = "models/base", **policy: Any
    ) -> None:
        self.store, self.state, self.clock = store, state, clock
        self.metrics = Metrics()
        self.latch = Latch(store, clock, self.metrics)
        self.act: Act = succeed
        self.jobs: list[TrainJob] = []
        self._base_model = base_model
        self.policy(**policy)
        self.snapshot = freeze(store, state)

    def policy(self, **policy: Any) -> None:
        """A trainer for another policy, on the same store."""
        self.trainer = Trainer(
            store=self.store,
            state_dir=self.state,
            policy=PolicySpec(name="support", family="tiny", base_model=self._base_model, **policy),
            training=TrainingConfig(),
            latch=self.latch,
            metrics=self.metrics,
            clock=self.clock,
            given=RunInputs(judges=(LARGE,)),
            start=self._start,
        )

    def _start(self, job: TrainJob, **options: Any) -> Any:
        self.jobs.append(job)
        return FakeChild(job, act=self.act, on_progress=options["on_progress"])

    def train(self, **options: Any) -> Any:
        return self.trainer.train(self.snapshot, actor="test", **options)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"rlaifd_{name}", labels)

    def actions(self) -> list[str]:
        rows = self.store.read(lambda c: list(c.scalars(select(ledger.LEDGER.c.action))))
        return [str(row) for row in rows]


def freeze(store: Store, state: Path, *, pairs: int = 32) -> str:
    """A snapshot to train on; returns its id."""
    name, path = snapshot.write(state / "snapshots", "support", [pair(n) for n in range(pairs)])
    store.write(
        lambda c: preferences.store_snapshot(c, name, str(path), Held(range(pairs)), note="", now=1.0)
    )
    return name
