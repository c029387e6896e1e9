"""Where adapters are served: a list of targets, and the first version's one directory."""

from pathlib import Path

import pytest

from daemon.config.targets import DirectoryTargetConfig
from tests.daemon.config.test_settings import refused
from tests.daemon.configuration import TEXT, settings

OLD = "rollout: {file: rollout.yaml, directory: serving}"


def with_targets(written: str) -> str:
    """The configuration with targets in the place of the directory."""
    assert OLD in TEXT
    return TEXT.replace(OLD, f"rollout: {{file: rollout.yaml}}\ntargets: {written}")


def test_each_target_has_its_type_and_its_directory(tmp_path: Path) -> None:
    """Relative to the file; one name may be left out."""
    text = with_targets("[{type: directory, path: a}, {type: directory, name: b, path: /srv/b}]")
    assert settings(tmp_path, text).targets == (
        DirectoryTargetConfig(type="directory", path=tmp_path / "a"),
        DirectoryTargetConfig(type="directory", name="b", path=Path("/srv/b")),
    )


@pytest.mark.parametrize("text", [TEXT, TEXT.replace(OLD, "rollout: {file: rollout.yaml}")])
def test_the_directory_of_the_first_version_is_one_target(tmp_path: Path, text: str) -> None:
    """A file that names it, or nothing, means what it meant."""
    assert settings(tmp_path, text).targets == (
        DirectoryTargetConfig(type="directory", path=tmp_path / "serving"),
    )


def test_the_directory_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it could in the first version."""
    monkeypatch.setenv("RLAIFD_ROLLOUT__DIRECTORY", "/srv/adapters")
    assert [str(target.path) for target in settings(tmp_path).targets] == ["/srv/adapters"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (with_targets("[{type: directory, path: a}]").replace("rollout: {", "rollout: {directory: b, "),
         "rollout.directory: is short for the path of one target, and targets are written too: remove it"),
        (with_targets("[{type: directory, path: a}, {type: directory, path: b}]"),
         "targets.1.name is that of targets.0: give each its own"),
        (with_targets("[{type: directory, path: a}, {type: directory, name: b, path: a}]"),
         "targets.1.path is that of targets.0: give each its own"),
        (with_targets("[]"), "targets: Tuple should have at least 1 item"),
        (with_targets("[{type: vllm, path: a}]"), "targets.0.type: Input should be 'directory'"),
        (with_targets("[{type: directory}]"), "targets.0.path: is required and missing"),
        (with_targets("[{type: directory, path: a, epoch: 3}]"), "targets.0.epoch: unknown key"),
    ],
)  # fmt: skip
def test_a_slip_is_told_by_its_key(tmp_path: Path, text: str, says: str) -> None:
    """In one line."""
    assert says in refused(tmp_path, text)
