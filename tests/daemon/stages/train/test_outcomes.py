"""A training ends as one published adapter, or as a row that says why not."""

from typing import Any

import pytest
from sqlalchemy import select

from daemon.adapters import adapters
from daemon.children.child import Child
from daemon.errors import AdapterRefusedError, RlaifdError
from daemon.stages.train.trainer import Trainer
from daemon.store import adapters as adapter_rows
from daemon.store import ledger, rollouts, runs
from policies.recipes import DpoRecipe
from policies.rollout import Assignment
from policies.training.jobs import TrainResult
from policies.training.layout import ADAPTER, ADAPTER_WEIGHTS
from policies.training.planning.plan import TrainingPlan
from tests.daemon.adapters.adapterfiles import source
from tests.daemon.stages.train.bench import Bench, FakeChild, succeed, succeed_as_planned


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
    assert bench.value("policy_entropy_nats", slot="challenger") == 0.5
    assert bench.value("training_active") == 0


def test_the_recipe_that_was_carried_out_is_kept(bench: Bench) -> None:
    """Row and manifest have every number explicit, the ledger what was asked; whoever asked is told first."""
    told: list[TrainingPlan] = []
    bench.act = succeed_as_planned
    outcome = bench.train(on_plan=told.append)
    (decided,) = told
    done = decided.recipe.model_dump(mode="json")
    assert (done["learning_rate"], done["steps"], done["warmup_steps"]) == (2.4e-4, 24, 0)
    run = bench.store.read(lambda c: runs.get(c, outcome.run))
    assert run is not None
    assert run.recipe == done
    assert run.result is not None
    assert run.result["plan"]["asked"]["learning_rate"] == "auto"
    manifest = adapters.verify(bench.trainer.adapters_dir / outcome.adapter, outcome.adapter)
    assert manifest.recipe == done
    begun = bench.store.read(lambda c: c.scalars(select(ledger.LEDGER.c.detail)).first())
    assert begun is not None
    assert begun["recipe"]["learning_rate"] == "auto"


def test_training_goes_on_from_the_adapter_in_force(bench: Bench) -> None:
    """The parent is the stable adapter, verified first; the base where a call or the recipe asks for that."""
    first = bench.train()

    def promote(connection: Any) -> None:
        rollouts.advance(
            connection, after=Assignment(None, 0), stable=first.adapter, actor="t", reason="t", at=1.0
        )

    bench.store.write(promote)
    second = bench.train()
    third = bench.train(from_base=True)
    bench.train(recipe=DpoRecipe(start="base"))
    parents = [job.parent and job.parent.name for job in bench.jobs]
    assert parents == [None, first.adapter, None, None]
    row = bench.store.read(lambda c: adapter_rows.get(c, second.adapter))
    assert row is not None
    assert row.parent == first.adapter
    assert len({first.adapter, second.adapter, third.adapter}) == 3
    weights = bench.trainer.adapters_dir / first.adapter / ADAPTER_WEIGHTS
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(AdapterRefusedError, match="size"):
        bench.train()


def test_the_reference_is_the_recipes(bench: Bench) -> None:
    """The stable adapter and the base, for either start; where both are the same it is the start."""
    stable = bench.trainer.adapters_dir / str(bench.train().adapter)
    choices: list[dict[str, Any]] = [
        {"start": start, "reference": reference}
        for start in ("stable", "base")
        for reference in ("start", "stable", "base")
    ]

    def asked() -> list[tuple[bool, Any]]:
        bench.jobs.clear()
        for choice in choices:
            bench.train(recipe=DpoRecipe(**choice))
        return [(job.parent is not None, job.reference) for job in bench.jobs]

    assert asked() == [(False, "start")] * 6
    bench.store.write(
        lambda c: rollouts.advance(
            c, after=Assignment(None, 0), stable=stable.name, actor="t", reason="t", at=1.0
        )
    )
    assert asked() == [
        *((True, "start"), (True, "start"), (True, "base")),
        *((False, "start"), (False, stable), (False, "start")),
    ]


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


def test_the_default_child_is_the_real_one() -> None:
    """Wiring needs to name no child."""
    import inspect

    assert inspect.signature(Trainer).parameters["start"].default is Child
