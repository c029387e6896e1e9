"""The contract of ServingTarget, on the fake and on the directory."""

from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.base import ServingTarget
from connectors.errors import FatalError
from connectors.memory import MemoryTarget
from connectors.serving.directory import DirectoryTarget
from policies.rollout import Assignment

Reopen = Callable[[], ServingTarget]


@pytest.fixture
def adapters(tmp_path: Path) -> dict[str, Path]:
    """Two adapter directories by name."""
    made: dict[str, Path] = {}
    for name in ("agent-aaa", "agent-bbb"):
        directory = tmp_path / "adapters" / name
        directory.mkdir(parents=True)
        (directory / "MANIFEST.json").write_text(f'{{"name": "{name}"}}')
        made[name] = directory
    return made


@pytest.fixture(params=["memory", "directory"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """Opens the same target again, as another process would."""
    if request.param == "memory":
        target = MemoryTarget()
        return lambda: target
    return lambda: DirectoryTarget(tmp_path / "serving")


def test_a_fresh_target_serves_the_base_model(reopen: Reopen) -> None:
    """Before anything was served the base model is."""
    assert reopen().served().adapter is None


def test_it_serves_what_it_was_told(reopen: Reopen, adapters: dict[str, Path]) -> None:
    """After `serve` returns, `served` answers that adapter, the next one, and the base model again."""
    for epoch, name in enumerate(("agent-aaa", "agent-bbb", None, "agent-aaa"), start=1):
        reopen().serve(Assignment(name, epoch), adapters)
        assert reopen().served().adapter == name


def test_serving_the_same_again_changes_nothing(reopen: Reopen, adapters: dict[str, Path]) -> None:
    """`serve` is idempotent."""
    for _ in range(3):
        reopen().serve(Assignment("agent-aaa", 1), adapters)
    assert reopen().served().adapter == "agent-aaa"


def test_a_lower_epoch_is_refused(reopen: Reopen, adapters: dict[str, Path]) -> None:
    """A stale daemon cannot put its adapter back; the same epoch may assert itself again."""
    reopen().serve(Assignment("agent-bbb", 7), adapters)
    with pytest.raises(FatalError, match="epoch 6"):
        reopen().serve(Assignment("agent-aaa", 6), adapters)
    assert reopen().served().adapter == "agent-bbb"
    with pytest.raises(FatalError, match="epoch 6"):
        reopen().serve(Assignment(None, 6), {})
    reopen().serve(Assignment("agent-bbb", 7), adapters)
    assert reopen().served().adapter == "agent-bbb"


def test_an_adapter_without_its_directory_is_refused(reopen: Reopen, adapters: dict[str, Path]) -> None:
    """And changes nothing."""
    with pytest.raises(FatalError, match="agent-ccc"):
        reopen().serve(Assignment("agent-ccc", 1), adapters)
    assert reopen().served().assignment == Assignment(None, 0)


def test_what_is_served_is_told_with_its_epoch(reopen: Reopen, adapters: dict[str, Path]) -> None:
    """The whole assignment, as it was given."""
    for given in (Assignment("agent-aaa", 4), Assignment(None, 5)):
        reopen().serve(given, adapters)
        assert reopen().served().assignment == given


def test_the_time_it_was_seen_is_told(reopen: Reopen) -> None:
    """`checked_at` is a time since the epoch, and does not go back."""
    first = reopen().served().checked_at
    assert 0 < first <= reopen().served().checked_at
