"""Files that go out to people, and come back from them."""

from pathlib import Path

import pytest

from connectors.review import jsonl
from connectors.review.jsonl import Task
from policies.records import Message
from tests.growth import LINEAR, growth

TASK = Task("p", (Message(role="user", content="question"),), "one", "two")


@pytest.mark.parametrize("planted", ["link", "file", "nothing"])
def test_an_export_is_for_its_owner_and_follows_no_link(tmp_path: Path, planted: str) -> None:
    """Customers' words are in it; what lies at the temporary name is not written over."""
    victim, path, temporary = (
        tmp_path / "victim",
        tmp_path / "tasks.jsonl",
        tmp_path / ".tasks.jsonl.00000000.new",
    )
    victim.write_text("precious")
    if planted == "link":
        temporary.symlink_to(victim)
    elif planted == "file":
        temporary.write_text("of a writer that was killed")
    jsonl.write(path, [TASK])
    assert victim.read_text() == "precious"
    assert path.stat().st_mode & 0o777 == 0o600
    assert not path.is_symlink()
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "unit",
    ['{{"pair": "p{}", "choice": "1"}}\n', '{{"pair": "p", "choice": "1"}}{}\n', "\n", "{{{}\n", '{{"p{}": '],
    ids=["labels", "doubled", "empty", "no JSON", "one line"],
)
def test_reading_labels_costs_no_more_than_the_length(tmp_path: Path, unit: str) -> None:
    """Eight times the file is at most twelve times the work, whatever is in it."""
    path = tmp_path / "labels.jsonl"

    def read(size: int) -> None:
        path.write_text("".join(unit.format(number) for number in range(size)))
        jsonl.read(path)

    assert growth(read, 1000) < LINEAR
