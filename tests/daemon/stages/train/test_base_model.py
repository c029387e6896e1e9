"""For whom an adapter is: the base model is the same one from the run's begin to the adapter's last use."""

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.adapters import adapters
from daemon.clock import FakeClock
from daemon.errors import AdapterRefusedError
from daemon.store import adapters as adapter_rows
from daemon.store import rollouts
from daemon.store.store import Store
from policies.rollout import Assignment
from policies.training.jobs import TrainResult
from policies.training.layout import ADAPTER_CONFIG
from tests.daemon.adapters.basefiles import write_base
from tests.daemon.stages.train.bench import PROBE, Bench, FakeChild, end_as, succeed


@pytest.fixture
def bench(store: Store, tmp_path: Path, clock: FakeClock) -> Bench:
    """A trainer whose base model is a directory."""
    return Bench(store, tmp_path / "state", clock, str(write_base(tmp_path / "base")))


def test_the_manifest_says_for_whom_the_adapter_is(bench: Bench, tmp_path: Path) -> None:
    """The base model's digest and path, and the probe, in the manifest and in the row."""
    outcome = bench.train()
    made = adapters.verify(bench.trainer.adapters_dir / outcome.adapter, outcome.adapter)
    base = bench.trainer._base.now()
    assert (made.base, made.probe) == (base, PROBE)
    assert made.base_model == str(tmp_path / "base")
    assert made.base_digest is not None
    row = bench.store.read(lambda c: adapter_rows.get(c, outcome.adapter))
    assert row is not None
    assert row.manifest == made.model_dump(mode="json")
    assert bench.store.read(rollouts.bases) == {outcome.adapter: base}


def test_the_name_that_the_server_knows_is_the_adapters(
    store: Store, tmp_path: Path, clock: FakeClock
) -> None:
    """`policy.served_as` reaches the child and the manifest; the digest is the directory's all the same."""
    base = str(write_base(tmp_path / "base"))
    bench = Bench(store, tmp_path / "state", clock, base, served_as="our-model")
    outcome = bench.train()
    directory = bench.trainer.adapters_dir / outcome.adapter
    made = adapters.verify(directory, outcome.adapter)
    assert json.loads((directory / ADAPTER_CONFIG).read_text())["base_model_name_or_path"] == "our-model"
    assert (made.base_model, made.served_as) == (base, "our-model")
    assert made.base_digest is not None


def test_a_base_model_that_is_replaced_under_a_run_fails_it(bench: Bench, tmp_path: Path) -> None:
    """Which of the two the adapter is for nobody knows: nothing is published."""

    def replaced(child: FakeChild) -> TrainResult:
        write_base(tmp_path / "base", seed=1)
        return succeed(child)

    bench.act = replaced
    outcome = bench.train()
    assert (outcome.state, outcome.adapter) == ("failed", None)
    assert "was replaced under the run: train again" in outcome.reason
    assert not bench.trainer.adapters_dir.exists()


def test_a_run_goes_on_only_on_the_base_model_it_began_with(bench: Bench, tmp_path: Path) -> None:
    """Its checkpoints mean nothing on another one: a new run is begun."""
    bench.act = end_as("stopped", "asked to stop")
    first = bench.train()
    write_base(tmp_path / "base", seed=1)
    other = bench.train()
    write_base(tmp_path / "base", seed=0)
    bench.act = succeed
    again = bench.train()
    assert first.run == again.run != other.run


def test_training_does_not_go_on_from_an_adapter_of_another_base_model(bench: Bench, tmp_path: Path) -> None:
    """The line names both digests and the way out."""
    first = bench.train()
    before = bench.trainer._base.now()

    def promote(connection: Any) -> None:
        rollouts.advance(
            connection, after=Assignment(None, 0), stable=first.adapter, actor="t", reason="t", at=1.0
        )

    bench.store.write(promote)
    assert bench.train().state == "done"
    write_base(tmp_path / "base", seed=1)
    with pytest.raises(AdapterRefusedError) as caught:
        bench.train()
    assert str(caught.value) == (
        f"{first.adapter} was trained on {before}, and the policy's base model is "
        f"{bench.trainer._base.now()}: it fits no other; `rlaifd rollback --to base` first"
    )
    assert bench.train(from_base=True).state == "done"


def test_a_run_that_changed_nothing_publishes_nothing(bench: Bench) -> None:
    """It is told apart from a failure, its checkpoints go, and asked for again it is a new run."""
    bench.act = end_as("unchanged", "training changed no weight: raise policy.recipe.learning_rate or epochs")
    outcome = bench.train()
    assert (outcome.state, outcome.adapter) == ("unchanged", None)
    assert "raise policy.recipe.learning_rate" in outcome.reason
    assert bench.actions() == ["training started", "training unchanged"]
    assert bench.value("training_runs_total", result="unchanged") == 1
    assert bench.value("training_runs_total", result="failed") is None
    assert bench.store.read(rollouts.bases) == {}
    assert not bench.trainer.adapters_dir.exists()
    assert bench.train().run != outcome.run
