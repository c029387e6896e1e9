"""`rlaifd train --plan`, with the child that makes the plan."""

import json
import shutil
from pathlib import Path

import pytest

from policies import snapshot
from tests.daemon.configuration import TEXT, write
from tests.policies.training.conftest import pair
from tests.system.command import rlaifd

pytestmark = pytest.mark.training


@pytest.fixture
def place(tmp_path: Path, tiny_model: Path) -> Path:
    """A configuration with the tiny model for a base, and a snapshot of 16 pairs as `given.jsonl`."""
    write(tmp_path)
    shutil.rmtree(tmp_path / "base")
    shutil.copytree(tiny_model, tmp_path / "base")
    _, path = snapshot.write(tmp_path / "given", "support-agent", [pair(n) for n in range(16)])
    path.rename(tmp_path / "given.jsonl")
    return tmp_path


def test_the_plan_is_shown_and_nothing_begins(place: Path) -> None:
    """As one object with every number; the state directory holds no run, and no job is left."""
    done = rlaifd("train", "--plan", "--json", "--snapshot", "given.jsonl", cwd=place)
    assert done.code == 0, done.err
    state = json.loads(done.out)
    assert (state["pairs"], state["steps"], state["batch_size"], state["warmup_steps"]) == (16, 24, 4, 0)
    assert state["minutes"] is not None
    assert state["minutes_basis"] == "measured now, in a second"
    assert state["memory_bytes"]["total"] > 0
    assert list((place / "state" / "jobs").iterdir()) == []
    assert not (place / "state" / "runs").exists()


def test_a_plan_that_does_not_fit_is_shown_and_is_no_success(place: Path) -> None:
    """Exit 1, every line of the plan, and the sum with the key to change."""
    file = place / "rlaifd.yaml"
    file.write_text(TEXT.replace("\n...\n", "\ntraining: {device: cpu, memory_gb: 0.5}\n...\n"))
    done = rlaifd("train", "--plan", "--snapshot", "given.jsonl", cwd=place)
    assert done.code == 1
    rows = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert "where the cpu has 0.5 GB, a tenth of which is left alone" in rows["refused"]
    assert rows["steps"].startswith("24; guards look 4 times")
