"""Training as the daemon runs it: rows, ledger, publication, halts, and kills."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from daemon import adapters
from daemon.children import Child, ChildFailedError
from daemon.clock import FakeClock
from daemon.config import TrainingConfig
from daemon.errors import AdapterRefusedError, HaltedError, RlaifdError, UsageError
from daemon.latch import Latch
from daemon.metrics import Metrics
from daemon.store import adapters as adapter_rows
from daemon.store import ledger, preferences, rollouts, runs
from daemon.store.schema import upgrade
from daemon.store.store import Store
from daemon.trainer import Trainer
from policies import snapshot
from policies.policy import DpoRecipe, Guard, Lora, PolicySpec, TrainingGuards
from policies.records import Scope
from policies.training.jobs import (
    ADAPTER,
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    JOB,
    PROGRESS,
    AdapterFile,
    Progress,
    TrainJob,
    TrainResult,
)
from tests.daemon.adapterfiles import source
from tests.policies.training.conftest import pair


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


Act = Callable[[FakeChild], TrainResult]


def succeed(child: FakeChild) -> TrainResult:
    made = source(child.job.out / ADAPTER, config={"base_model_name_or_path": child.job.base_model})
    files = {name: described(made / name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)}
    child.tell(Progress(event="step", step=7, metrics={"loss": 0.25}))
    child.tell(Progress(event="guard", step=7, metrics={"kl_sequence": 1.5, "entropy": 0.5}))
    return TrainResult(state="done", steps=8, files=files)


def described(path: Path) -> AdapterFile:
    import hashlib

    body = path.read_bytes()
    return AdapterFile(sha256=hashlib.sha256(body).hexdigest(), size=len(body))


def crash(child: FakeChild) -> TrainResult:
    raise ChildFailedError("the train child ended with code 1: boom (log: log.txt)")


def end_as(state: Any, reason: str) -> Act:
    return lambda _: TrainResult(state=state, reason=reason, steps=3)


class Bench:
    """A trainer with its store, latch and metrics, and a snapshot to train on."""

    def __init__(self, store: Store, state: Path, clock: FakeClock) -> None:
        self.store, self.state, self.clock = store, state, clock
        self.metrics = Metrics()
        self.latch = Latch(store, clock, self.metrics)
        self.act: Act = succeed
        self.jobs: list[TrainJob] = []
        self.trainer = Trainer(
            store=store,
            state_dir=state,
            policy=PolicySpec(name="support", family="tiny", base_model="models/base"),
            training=TrainingConfig(),
            latch=self.latch,
            metrics=self.metrics,
            clock=clock,
            start=self._start,
        )
        self.snapshot = freeze(store, state)

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
    name, path = snapshot.write(state / "snapshots", "support", [pair(n) for n in range(pairs)])
    store.write(
        lambda c: preferences.store_snapshot(c, name, str(path), list(range(pairs)), note="", now=1.0)
    )
    return name


@pytest.fixture
def bench(store: Store, tmp_path: Path, clock: FakeClock) -> Bench:
    return Bench(store, tmp_path / "state", clock)


def test_a_run_ends_as_a_published_adapter_with_its_rows(bench: Bench) -> None:
    """Row, ledger, directory and metrics agree, and the adapter verifies under its name."""
    outcome = bench.train()
    assert outcome.state == "done"
    found = adapters.verify(bench.trainer.adapters_dir / outcome.adapter, outcome.adapter)
    row = bench.store.read(lambda c: adapter_rows.get(c, outcome.adapter))
    run = bench.store.read(lambda c: runs.get(c, outcome.run))
    assert row is not None
    assert run is not None
    assert (found.run, found.snapshot, found.parent) == (outcome.run, bench.snapshot, None)
    assert row.manifest == found.model_dump(mode="json")
    assert (run.state, run.adapter, run.step) == ("done", outcome.adapter, 8)
    assert bench.actions() == ["training started", "training done"]
    assert bench.value("training_runs_total", result="done") == 1
    assert bench.value("training_loss") == 0.25
    assert bench.value("policy_entropy_nats", slot="candidate") == 0.5
    assert bench.value("training_active") == 0


def test_training_goes_on_from_the_adapter_in_force(bench: Bench) -> None:
    """The parent is the stable adapter, verified first; from the base only where that is asked for."""
    first = bench.train()

    def promote(connection: Any) -> None:
        rollouts.advance(
            connection, after=rollouts.InForce(None, 0), stable=first.adapter, actor="t", reason="t", at=1.0
        )

    bench.store.write(promote)
    second = bench.train()
    third = bench.train(from_base=True)
    assert [job.parent and job.parent.name for job in bench.jobs] == [None, first.adapter, None]
    row = bench.store.read(lambda c: adapter_rows.get(c, second.adapter))
    assert row is not None
    assert row.parent == first.adapter
    assert len({first.adapter, second.adapter, third.adapter}) == 3
    weights = bench.trainer.adapters_dir / first.adapter / ADAPTER_WEIGHTS
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(AdapterRefusedError, match="size"):
        bench.train()


def test_a_halted_scope_starts_nothing(bench: Bench) -> None:
    """No row, no ledger entry and no child while training is halted; an unknown snapshot is told."""
    bench.latch.halt(Scope.TRAINING, reason="alignment fell", source="alert", actor="t")
    with pytest.raises(HaltedError, match="alignment fell"):
        bench.train()
    assert bench.jobs == []
    assert bench.actions() == ["halt"]
    bench.latch.resume(Scope.TRAINING, actor="t", reason="fixed")
    with pytest.raises(UsageError, match="no snapshot abcdef"):
        bench.trainer.train("abcdef", actor="t")


def test_a_guard_that_stops_a_run_latches_a_halt(bench: Bench) -> None:
    """The run ends as halted and training stays halted until a person resumes it."""
    bench.act = end_as("halted", "step 25: kl_nats 140 nats per sequence is above 20")
    outcome = bench.train()
    assert (outcome.state, outcome.adapter) == ("halted", None)
    assert bench.value("halts_total", scope="training", source="guard") == 1
    bench.act = succeed
    with pytest.raises(HaltedError, match="kl_nats 140"):
        bench.train()


def test_a_halt_during_the_run_stops_the_child(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert does not wait for the end of the training."""
    monkeypatch.setattr("daemon.trainer.LOOK_S", -1.0)
    asked: list[bool] = []

    def halted_meanwhile(child: FakeChild) -> TrainResult:
        child.tell(Progress(event="step", step=1))
        asked.append(child.asked)
        bench.latch.halt(Scope.TRAINING, reason="KL alert", source="alert", actor="t")
        child.tell(Progress(event="step", step=2))
        asked.append(child.asked)
        return TrainResult(state="stopped", reason="asked to stop at step 2 of 9", steps=2)

    bench.act = halted_meanwhile
    assert bench.train().state == "stopped"
    assert asked == [False, True]


def test_a_stopped_run_is_taken_up_by_the_same_training_only(bench: Bench) -> None:
    """The same snapshot, recipe and guards go on in the same directory; another recipe begins anew."""
    bench.act = end_as("stopped", "asked to stop at step 3 of 9")
    first = bench.train()
    other = bench.train(recipe=DpoRecipe(beta=0.7))
    bench.act = succeed
    resumed = bench.train()
    assert resumed.run == first.run != other.run
    assert bench.jobs[2].out == bench.jobs[0].out
    assert bench.actions()[-2:] == ["training resumed", "training done"]
    assert bench.train().run not in {first.run, other.run}


def test_a_crash_is_an_outcome_and_is_taken_up_a_few_times(bench: Bench) -> None:
    """The reason is kept; after three crashes a new run is begun."""
    bench.act = crash
    outcomes = [bench.train() for _ in range(4)]
    assert {outcome.state for outcome in outcomes} == {"failed"}
    assert "boom" in outcomes[0].reason
    assert [outcome.run == outcomes[0].run for outcome in outcomes] == [True, True, True, False]
    assert bench.value("training_runs_total", result="failed") == 4


def test_what_a_child_left_is_not_published_when_it_changed(bench: Bench) -> None:
    """Weights that differ from what the child reported end the run as failed."""

    def swapped(child: FakeChild) -> TrainResult:
        result = succeed(child)
        source(child.job.out / ADAPTER, seed=5)
        return result

    bench.act = swapped
    outcome = bench.train()
    assert (outcome.state, outcome.adapter) == ("failed", None)
    assert "SHA-256" in outcome.reason
    assert list(bench.trainer.adapters_dir.iterdir()) == []


def test_one_training_at_a_time(bench: Bench) -> None:
    """A second call while a run is under way is refused at once."""
    caught: list[str] = []

    def nested(child: FakeChild) -> TrainResult:
        with pytest.raises(RlaifdError, match="under way") as error:
            bench.train()
        caught.append(str(error.value))
        return succeed(child)

    bench.act = nested
    assert bench.train().state == "done"
    assert len(caught) == 1


@pytest.mark.parametrize("body", ["", '{"kind": "train", "out": "/', '{"kind": "train", "novel": 1}'])
def test_a_job_file_that_cannot_be_read_begins_anew(bench: Bench, body: str) -> None:
    """Cut off by a kill, or written by another version: that run is not taken up, and blocks nothing."""
    bench.act = end_as("stopped", "asked to stop")
    stopped = bench.train()
    (bench.state / "runs" / stopped.run / JOB).write_text(body, encoding="utf-8")
    bench.act = succeed
    outcome = bench.train()
    assert outcome.state == "done"
    assert outcome.run != stopped.run


def test_recovery_frees_what_a_killed_daemon_left(bench: Bench) -> None:
    """Running rows become stopped, and half-published directories are swept."""
    killed = subprocess.Popen(["true"])
    killed.wait()
    begin(bench, "r0", pid=killed.pid)
    (bench.trainer.adapters_dir / f".tmp-{killed.pid}-x").mkdir(parents=True)
    assert bench.trainer.recover() == ["r0"]
    run = bench.store.read(lambda c: runs.get(c, "r0"))
    assert run is not None
    assert (run.state, run.reason) == ("stopped", "its process ended")
    assert list(bench.trainer.adapters_dir.iterdir()) == []
    assert bench.trainer.recover() == []


def test_recovery_leaves_what_another_process_is_at(bench: Bench) -> None:
    """A run and a publication whose process lives, and a run of another machine, are not touched."""
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            begin(bench, "r1", pid=other.pid, at=time.time())
            begin(bench, "r2", pid=1, here=False)
            (bench.trainer.adapters_dir / f".tmp-{other.pid}-x").mkdir(parents=True)
            assert bench.trainer.recover() == []
            assert len(list(bench.trainer.adapters_dir.iterdir())) == 1
        finally:
            other.kill()


def test_recovery_is_not_deceived_by_a_number_given_out_again(bench: Bench) -> None:
    """In a container every daemon has the same number; after a reboot a stranger may have it."""
    begin(bench, "ours", pid=os.getpid(), at=time.time())
    (bench.trainer.adapters_dir / f".tmp-{os.getpid()}-x").mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            begin(bench, "older", pid=stranger.pid, at=time.time() - 3600)
            left = bench.trainer.adapters_dir / f".tmp-{stranger.pid}-x"
            left.mkdir()
            os.utime(left, (1, time.time() - 3600))
            assert sorted(bench.trainer.recover()) == ["older", "ours"]
        finally:
            stranger.kill()
    assert list(bench.trainer.adapters_dir.iterdir()) == []


def begin(bench: Bench, run: str, *, pid: int, at: float = 1.0, here: bool = True) -> None:
    """A running run, and its directory where it is of this machine."""
    if here:
        (bench.trainer.adapters_dir.parent / "runs" / run).mkdir(parents=True)
    bench.store.write(
        lambda c: runs.begin(c, run=run, snapshot_id=bench.snapshot, recipe={}, parent=None, pid=pid, now=at)
    )


def real_trainer(state: Path, base_model: str) -> Trainer:
    """A trainer with real children on a SQLite store of its own."""
    clock, metrics = FakeClock(time.time()), Metrics()
    store = Store(f"sqlite:///{state / 'rlaifd.db'}")
    upgrade(store)
    recipe = DpoRecipe(
        learning_rate=2e-3, epochs=40, batch_size=8, checkpoint_steps=20, lora=Lora(r=4, alpha=8)
    )
    guards = TrainingGuards(every_steps=50, samples=2, kl_nats=Guard(limit=1e6))
    policy = PolicySpec(name="tiny", family="tiny", base_model=base_model, recipe=recipe, guards=guards)
    return Trainer(
        store=store, state_dir=state, policy=policy, training=TrainingConfig(device="cpu"),
        latch=Latch(store, clock, metrics), metrics=metrics, clock=clock, seed=3,
    )  # fmt: skip


DAEMON = """
import sys
from pathlib import Path
from tests.daemon.test_trainer import real_trainer
real_trainer(Path(sys.argv[1]), sys.argv[2]).train(sys.argv[3], actor="test")
"""


@pytest.mark.training
def test_a_training_whose_daemon_is_killed_ends_as_one_adapter(tiny_model: Path, tmp_path: Path) -> None:
    """Kill -9 of the daemon amid a real training: the next call resumes it and publishes one adapter."""
    state = tmp_path / "state"
    state.mkdir()
    trainer = real_trainer(state, str(tiny_model))
    snapshot_id = freeze(trainer._store, state)
    arguments = [sys.executable, "-c", DAEMON, str(state), str(tiny_model), snapshot_id]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(arguments, cwd=root, env=os.environ) as daemon:
        try:
            wait_for_step(state / "runs", 45, daemon)
        finally:
            daemon.kill()
    assert trainer.recover() != []
    outcome = trainer.train(snapshot_id, actor="test")
    trainer._store.close()
    assert outcome.state == "done"
    assert outcome.result is not None
    assert outcome.result.resumed_from >= 40
    assert outcome.result.steps == 160
    published = list((state / "adapters").iterdir())
    assert [path.name for path in published] == [outcome.adapter]
    adapters.verify(published[0], published[0].name)
    store = Store(f"sqlite:///{state / 'rlaifd.db'}")
    counted = select(func.count()).select_from(adapter_rows.ADAPTER)
    assert store.read(lambda c: c.scalar(counted)) == 1
    assert [run.state for run in store.read(runs.newest)] == ["done"]
    store.close()


def wait_for_step(folder: Path, step: int, daemon: "subprocess.Popen[bytes]") -> None:
    """Waits until the run has reported the step."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert daemon.poll() is None, "the daemon ended by itself"
        for file in folder.glob(f"*/{PROGRESS}"):
            lines = file.read_bytes().split(b"\n")[:-1]
            if any(json.loads(line)["step"] >= step for line in lines):
                return
        time.sleep(0.01)
    pytest.fail("the training did not get that far")


def test_a_closing_trainer_starts_nothing(bench: Bench) -> None:
    """What comes after `stop` is refused: a schedule's thread may be late."""
    bench.trainer.stop()
    with pytest.raises(RlaifdError, match="stopping"):
        bench.train()
    assert bench.jobs == []


def test_a_child_that_dies_on_request_was_stopped(bench: Bench) -> None:
    """A request before the child can answer it kills it; the run can go on all the same."""

    def killed(child: FakeChild) -> TrainResult:
        bench.trainer.stop()
        assert child.asked
        raise ChildFailedError("the train child was killed by SIGTERM")

    bench.act = killed
    assert bench.train().state == "stopped"


def test_an_interrupted_run_is_not_left_running(bench: Bench) -> None:
    """Ctrl-C in the middle: the row says stopped, and the interrupt goes on."""

    def interrupted(child: FakeChild) -> TrainResult:
        raise KeyboardInterrupt

    bench.act = interrupted
    with pytest.raises(KeyboardInterrupt):
        bench.train()
    (run,) = bench.store.read(runs.newest)
    assert (run.state, run.reason) == ("stopped", "interrupted")
    bench.act = succeed
    assert bench.train().run == run.id


def test_the_default_child_is_the_real_one() -> None:
    """Wiring needs to name no child."""
    import inspect

    assert inspect.signature(Trainer).parameters["start"].default is Child
