"""Rubrics: shipped ones load, names are unique, content decides the digest."""

from pathlib import Path

import pytest

from policies import library
from policies.judging import rubric


@pytest.mark.parametrize("name", library.names("rubrics"))
def test_shipped_rubrics_load(name: str) -> None:
    """Each is named as its file, and its text names every dimension."""
    loaded = rubric.load(name)
    assert loaded.name == name
    assert all(f"- {dimension}:" in loaded.text() for dimension in loaded.names)


def test_two_dimensions_of_one_name_are_refused(tmp_path: Path) -> None:
    """The reply's object could not hold both."""
    path = tmp_path / "ours.yaml"
    line = "{name: a, question: q, low: l, high: h}"
    path.write_text(f"name: ours\ndimensions: [{line}, {line}]\noverall: all\n")
    with pytest.raises(library.LibraryError, match=r"ours\.yaml.*same name"):
        rubric.load(str(path))


def test_the_digest_follows_the_anchors() -> None:
    """What 10 means is part of what is measured."""
    scale = rubric.load("support")
    changed = scale.dimensions[0].model_copy(update={"high": "perfect"})
    other = scale.model_copy(update={"dimensions": (changed, *scale.dimensions[1:])})
    assert other.digest != scale.digest
