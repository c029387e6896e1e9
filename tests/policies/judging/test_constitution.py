"""Constitutions and rubrics are read by name or path, strictly, and errors name file and key."""

from pathlib import Path

import pytest

from policies import library
from policies.judging import constitution


@pytest.mark.parametrize("name", library.names("constitutions"))
def test_shipped_constitutions_load(name: str) -> None:
    """Each is named as its file and has a stable digest."""
    loaded = constitution.load(name)
    assert loaded.name == name
    assert loaded.digest == constitution.load(name).digest


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    """The message says what there is."""
    with pytest.raises(library.LibraryError, match=r"'nothing' is shipped.*helpful"):
        constitution.load("nothing")


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ("name: x\n", "principles: Field required"),
        ("name: x\nprinciples: [{name: a, text: ''}]\n", "principles.0.text"),
        ("name: x\nprinciples: [{name: a, text: b, extra: c}]\n", "principles.0.extra"),
        ("name: x\nprinciples: [{name: a, text: b}, {name: a, text: c}]\n", "same name"),
        ("name: x\nname: y\nprinciples: []\n", "written twice"),
        ("- a\n", "mapping"),
        ("name: [\n", "expected"),
    ],
)
def test_a_wrong_file_is_one_line_with_the_key(tmp_path: Path, body: str, wrong: str) -> None:
    """File, key and what is wrong."""
    path = tmp_path / "ours.yaml"
    path.write_text(body)
    with pytest.raises(library.LibraryError, match=wrong) as caught:
        constitution.load(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A path that is not there is an error, not a default."""
    with pytest.raises(library.LibraryError, match=r"gone\.yaml"):
        constitution.load(str(tmp_path / "gone.yaml"))


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    """One changed word is another constitution."""
    path = tmp_path / "ours.yaml"
    path.write_text("name: ours\nprinciples: [{name: a, text: be kind}]\n")
    before = constitution.load(str(path)).digest
    path.write_text("name: ours\nprinciples: [{name: a, text: be brief}]\n")
    assert constitution.load(str(path)).digest != before
