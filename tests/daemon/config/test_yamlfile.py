"""YAML files that people, git and templates write: read strictly, at a cost that is bounded."""

from pathlib import Path

import pytest

from daemon.config.yamlfile import read_yaml
from daemon.errors import ConfigError
from daemon.stages.rollout.file import LARGEST, RolloutFile
from policies.rollout import render
from tests.growth import LINEAR, growth


def refused(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    return str(caught.value)


@pytest.mark.parametrize("nothing", ["", "~", "  # left empty", "!!null", "&a"])
def test_a_value_that_is_not_written_is_not_null(tmp_path: Path, nothing: str) -> None:
    """A template's variable that was unset is a slip, at any depth; the line names the key."""
    path = tmp_path / "rollout.yaml"
    said = refused(path, f"spec:\n  stable: {nothing}\n...\n")
    assert said == f"{path}: line 2, column 3: `stable` has no value: write `null` if that is meant"
    assert "no value: write `null`" in refused(path, f"a:\n- b\n- {nothing}\n...\n")


@pytest.mark.parametrize("written", ["null", "Null", "NULL"])
def test_a_written_null_is_null(tmp_path: Path, written: str) -> None:
    """And an empty text in quotes is a text."""
    path = tmp_path / "a.yaml"
    path.write_text(f"a: {written}\nb: ''\n...\n")
    assert read_yaml(path) == {"a": None, "b": ""}


@pytest.mark.parametrize(
    "deep",
    ["[" * 5_000, "- " * 5_000 + "x", "? " * 5_000, "{a: " * 5_000, "a:\n" + " - " * 50 + "x"],
    ids=lambda text: text[:4],
)
def test_depth_is_bounded_before_anything_is_built(tmp_path: Path, deep: str) -> None:
    """Libyaml would end the process: one line answers instead."""
    assert "nested more than 32 levels" in refused(tmp_path / "a.yaml", f"{deep}\n...\n")


def test_a_rollout_file_is_small(tmp_path: Path) -> None:
    """What is longer is not parsed at all; the line says the bound and where it was reached."""
    file = RolloutFile(tmp_path / "rollout.yaml", lock=tmp_path / "lock")
    file.path.write_text("# a comment\n" * 75_000 + render(None))
    with pytest.raises(ConfigError, match=rf"longer than {LARGEST} characters, in line 13\d\d:"):
        file.read()
    file.path.write_text("# a comment\n" * 1_000 + render(None))
    assert file.read().stable is None


@pytest.mark.parametrize(
    "unit", ["k{}: [1, [2]]\n", "? k{}\n: b\n", "# c\nk{}: null\n", "'k y{}':\n  - 1\n  - 2\n"], ids=repr
)
def test_a_file_costs_no_more_than_its_length(tmp_path: Path, unit: str) -> None:
    """Keys, comments, flows and lists: eight times as many are at most twelve times the work."""
    path = tmp_path / "a.yaml"

    def read(size: int) -> None:
        path.write_text("".join(unit.format(number) for number in range(size)) + "...\n")
        assert len(read_yaml(path)) == size

    assert growth(read, 500) < LINEAR
