"""The directory target: one switch for both names, whatever stops it."""

import json
import threading
from pathlib import Path

import pytest

from connectors.errors import FatalError, TransientError
from connectors.serving.directory import KEPT_STATES, DirectoryTarget
from policies.rollout import Assignment
from tests.connectors.serving import kill_sweep
from tests.killing import sweep


class StoppedError(Exception):
    """Stands for the process ending at this step."""


@pytest.fixture
def adapters(tmp_path: Path) -> dict[str, Path]:
    made: dict[str, Path] = {}
    for name in ("agent-aaa", "agent-bbb"):
        directory = tmp_path / "adapters" / name
        directory.mkdir(parents=True)
        (directory / "MANIFEST.json").write_text(json.dumps({"name": name}))
        made[name] = directory
    return made


def test_both_names_switch_together(tmp_path: Path, adapters: dict[str, Path]) -> None:
    """`current` leads to the adapter that `current.json` names, with its digest, epoch and time."""
    serving = tmp_path / "serving"
    DirectoryTarget(serving, now=lambda: 12.5).serve(Assignment("agent-aaa", 3), adapters)
    pointer = json.loads((serving / "current.json").read_text())
    assert (serving / "current").resolve() == Path(adapters["agent-aaa"]).resolve()
    assert (pointer["adapter"], pointer["epoch"], pointer["at"]) == ("agent-aaa", 3, 12.5)
    assert len(pointer["digest"]) == 64


def test_the_base_model_leads_nowhere(tmp_path: Path, adapters: dict[str, Path]) -> None:
    """For the base model `current` is a link to nothing and `current.json` says null."""
    serving = tmp_path / "serving"
    target = DirectoryTarget(serving)
    target.serve(Assignment("agent-aaa", 1), adapters)
    target.serve(Assignment(None, 2), {})
    assert (serving / "current").is_symlink()
    assert not (serving / "current").exists()
    pointer = json.loads((serving / "current.json").read_text())
    assert (pointer["adapter"], pointer["digest"]) == (None, None)


def test_a_directory_without_a_manifest_is_refused(tmp_path: Path, adapters: dict[str, Path]) -> None:
    """What was never published is not served, and what was served stays."""
    target = DirectoryTarget(tmp_path / "serving")
    target.serve(Assignment("agent-aaa", 1), adapters)
    with pytest.raises(FatalError, match="not a published adapter"):
        target.serve(Assignment("agent-ccc", 2), {"agent-ccc": tmp_path})
    assert target.served().adapter == "agent-aaa"


def steps_of_a_switch(root: Path, adapters: dict[str, Path], first: str | None) -> list[str]:
    steps: list[str] = []
    serving = root / "counted"
    if first is not None:
        DirectoryTarget(serving).serve(Assignment(first, 1), adapters)
    DirectoryTarget(serving, at_step=steps.append).serve(Assignment("agent-bbb", 2), adapters)
    return steps


@pytest.mark.parametrize("first", [None, "agent-aaa"])
def test_a_stop_at_every_step_leaves_one_complete_adapter(
    tmp_path: Path, adapters: dict[str, Path], first: str | None
) -> None:
    """Stopped at any step, the target names the old or the new adapter whole, and a new process goes on."""
    count = len(steps_of_a_switch(tmp_path, adapters, first))
    assert count >= 6
    for stop_at in range(count):
        serving = tmp_path / f"serving-{stop_at}"
        if first is not None:
            DirectoryTarget(serving).serve(Assignment(first, 1), adapters)
        left = iter(range(stop_at))

        def stop(step: str, left: "object" = left) -> None:
            if next(left, None) is None:  # type: ignore[call-overload]
                raise StoppedError(step)

        with pytest.raises(StoppedError):
            DirectoryTarget(serving, at_step=stop).serve(Assignment("agent-bbb", 2), adapters)
        after = DirectoryTarget(serving)
        linked = (serving / "current").resolve().name if (serving / "current").exists() else None
        assert linked in {first, "agent-bbb"}
        if (serving / "current.json").exists():
            assert json.loads((serving / "current.json").read_text())["adapter"] == linked
            assert after.served().adapter == linked
        after.serve(Assignment("agent-bbb", 2), adapters)
        assert after.served().adapter == "agent-bbb"


def test_kill_9_at_any_moment_leaves_a_valid_pointer(tmp_path: Path) -> None:
    """A process that switches without pause is killed 150 times; no kill leaves a pointer that lies."""
    result = sweep(kill_sweep, tmp_path, 150)
    assert result["kills"] == 150
    assert result["faults"] == []
    assert result["epochs_rise"]
    assert result["switches"] > 10, "the kills landed before any switch"
    assert result["states"] <= KEPT_STATES + 1


def test_a_damaged_pointer_is_seen_and_repaired(tmp_path: Path, adapters: dict[str, Path]) -> None:
    """Damage is an error of `served`, the epoch survives it, and serving again repairs it."""
    serving = tmp_path / "serving"
    target = DirectoryTarget(serving)
    target.serve(Assignment("agent-aaa", 5), adapters)
    (serving / "current.json").write_text("{")
    with pytest.raises(TransientError, match="damaged"):
        target.served()
    with pytest.raises(FatalError, match="older than 5"):
        target.serve(Assignment(None, 4), {})
    target.serve(Assignment("agent-aaa", 5), adapters)
    assert target.served().adapter == "agent-aaa"


@pytest.mark.parametrize("entry", ["current", "current.json"])
def test_a_name_that_was_replaced_is_put_back(tmp_path: Path, adapters: dict[str, Path], entry: str) -> None:
    """Somebody's own link or file in place of ours does not pass for what is served."""
    serving = tmp_path / "serving"
    target = DirectoryTarget(serving)
    target.serve(Assignment("agent-aaa", 1), adapters)
    (serving / entry).unlink()
    (serving / entry).symlink_to(adapters["agent-bbb"])
    with pytest.raises(TransientError, match=f"`{entry}` is not the link"):
        target.served()
    target.serve(Assignment("agent-aaa", 1), adapters)
    assert (serving / "current").resolve().name == "agent-aaa"
    assert json.loads((serving / "current.json").read_text())["adapter"] == "agent-aaa"


def test_an_adapter_that_went_away_is_seen(tmp_path: Path, adapters: dict[str, Path]) -> None:
    """A link that leads to no adapter any more is an error, never the base model."""
    target = DirectoryTarget(tmp_path / "serving")
    target.serve(Assignment("agent-aaa", 1), adapters)
    Path(adapters["agent-aaa"]).rename(tmp_path / "elsewhere")
    with pytest.raises(TransientError, match="does not lead to agent-aaa"):
        target.served()


def test_a_held_lock_is_waited_for_and_then_given_up(tmp_path: Path, adapters: dict[str, Path]) -> None:
    """Another process in the middle of a switch is waited for; one that never ends is an error."""
    serving = tmp_path / "serving"
    inside, go_on = threading.Event(), threading.Event()

    def hold(_: str) -> None:
        inside.set()
        assert go_on.wait(60)

    slow = DirectoryTarget(serving, at_step=hold)
    thread = threading.Thread(target=slow.serve, args=(Assignment("agent-aaa", 1), adapters))
    thread.start()
    try:
        assert inside.wait(60)
        with pytest.raises(TransientError, match="locked"):
            DirectoryTarget(serving, lock_timeout_s=0.05).serve(Assignment("agent-bbb", 2), adapters)
    finally:
        go_on.set()
        thread.join(60)
    DirectoryTarget(serving).serve(Assignment("agent-bbb", 2), adapters)
    assert DirectoryTarget(serving).served().adapter == "agent-bbb"
