"""The contract of ServingTarget, on the fake and on the directory."""

from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.base import ServingTarget
from connectors.errors import FatalError
from connectors.memory import MemoryTarget
from connectors.serving.directory import DirectoryTarget

Reopen = Callable[[], ServingTarget]


@pytest.fixture
def adapters(tmp_path: Path) -> dict[str, str]:
    """Two adapter directories by name."""
    made: dict[str, str] = {}
    for name in ("agent-aaa", "agent-bbb"):
        directory = tmp_path / "adapters" / name
        directory.mkdir(parents=True)
        (directory / "MANIFEST.json").write_text(f'{{"name": "{name}"}}')
        made[name] = str(directory)
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


def test_it_serves_what_it_was_told(reopen: Reopen, adapters: dict[str, str]) -> None:
    """After `serve` returns, `served` answers that adapter, the next one, and the base model again."""
    for epoch, name in enumerate(("agent-aaa", "agent-bbb", None, "agent-aaa"), start=1):
        reopen().serve(name, adapters[name] if name else None, epoch)
        assert reopen().served().adapter == name


def test_serving_the_same_again_changes_nothing(reopen: Reopen, adapters: dict[str, str]) -> None:
    """`serve` is idempotent."""
    for _ in range(3):
        reopen().serve("agent-aaa", adapters["agent-aaa"], 1)
    assert reopen().served().adapter == "agent-aaa"


def test_a_lower_epoch_is_refused(reopen: Reopen, adapters: dict[str, str]) -> None:
    """A stale daemon cannot put its adapter back; the same epoch may assert itself again."""
    reopen().serve("agent-bbb", adapters["agent-bbb"], 7)
    with pytest.raises(FatalError, match="epoch 6"):
        reopen().serve("agent-aaa", adapters["agent-aaa"], 6)
    assert reopen().served().adapter == "agent-bbb"
    with pytest.raises(FatalError, match="epoch 6"):
        reopen().serve(None, None, 6)
    reopen().serve("agent-bbb", adapters["agent-bbb"], 7)
    assert reopen().served().adapter == "agent-bbb"


@pytest.mark.parametrize("base_has_directory", [True, False])
def test_an_adapter_and_its_directory_go_together(
    reopen: Reopen, adapters: dict[str, str], base_has_directory: bool
) -> None:
    """A name without a directory, or a directory without a name, is refused and changes nothing."""
    name, directory = (None, adapters["agent-aaa"]) if base_has_directory else ("agent-aaa", None)
    with pytest.raises(FatalError):
        reopen().serve(name, directory, 1)
    assert reopen().served().adapter is None


def test_the_time_it_was_seen_is_told(reopen: Reopen) -> None:
    """`checked_at` is a time since the epoch, and does not go back."""
    first = reopen().served().checked_at
    assert 0 < first <= reopen().served().checked_at
