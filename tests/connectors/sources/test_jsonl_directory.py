"""What lies in a directory of logs beside files: links, pipes, very many of them, and what a look costs."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from connectors.sources import jsonl
from connectors.sources.jsonl import JsonlSource
from tests.connectors.sources.following import Start, add, read
from tests.growth import LINEAR, growth


def test_one_entry_that_cannot_be_read_stops_no_other(logs: Path, start: Start, tmp_path: Path) -> None:
    """Links are not followed, to themselves, out of the directory or to nothing; pipes are not opened."""
    (logs / "loop.jsonl").symlink_to(logs / "loop.jsonl")
    (tmp_path / "outside.jsonl").write_text("secret\n", encoding="utf-8")
    (logs / "outside.jsonl").symlink_to(tmp_path / "outside.jsonl")
    (logs / "gone.jsonl").symlink_to(logs / "nowhere")
    os.mkfifo(logs / "pipe.jsonl")
    add(logs / "a.jsonl", "1\n", "2\n")
    source = start()
    assert read(source) == ["1", "2"]
    assert read(source) == []  # and nothing is told: there is nothing to mend


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_takes_a_files_place_is_not_followed(
    logs: Path, start: Start, tmp_path: Path, kind: str
) -> None:
    """A file that was read, and became a link or a pipe, is not read through it."""
    file, source = logs / "a.jsonl", start()
    add(file, "1\n")
    assert read(source) == ["1"]
    file.unlink()
    (tmp_path / "outside").write_text("secret\nsecret\n", encoding="utf-8")
    if kind == "link":
        file.symlink_to(tmp_path / "outside")
    else:
        os.mkfifo(file)
    add(logs / "b.jsonl", "2\n")
    assert read(source) == ["2"]


def test_a_named_file_may_be_a_link(logs: Path, start: Start) -> None:
    """Whoever names it has chosen it."""
    add(logs / "a.jsonl", "1\n")
    (logs / "link").symlink_to(logs / "a.jsonl")
    assert read(start(path=logs / "link", whole=True)) == ["1"]


def test_looking_at_many_files_costs_in_proportion(logs: Path, start: Start) -> None:
    """Empty ones are not opened, and those that are read and unchanged are not either."""
    for kind, text in (("empty", ""), ("idle", "1\n")):
        for count in (100, 800):
            (logs / f"{kind}{count}").mkdir()
            for number in range(count):
                (logs / f"{kind}{count}" / f"{number}.jsonl").write_text(text, encoding="utf-8")
    for kind in ("empty", "idle"):
        sources = {count: start(path=logs / f"{kind}{count}") for count in (100, 800)}
        for source in sources.values():
            read(source)

        def look(count: int, sources: dict[int, JsonlSource] = sources) -> None:
            sources[count]._look_at = float("-inf")
            assert sources[count].receive(0.0) == []

        assert growth(look, 100) < LINEAR


def test_empty_and_idle_files_are_not_opened(
    logs: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the directory is looked at."""
    for number in range(70):
        add(logs / f"idle{number}.jsonl", "1\n")
        (logs / f"empty{number}.jsonl").touch()
    source = start()
    assert len(read(source)) == 70
    read(source)
    opened: list[object] = []
    whole = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: opened.append(path) or whole(path, *rest))  # type: ignore[func-returns-value]
    for _ in range(3):
        assert read(source) == []
    assert opened == []
    add(logs / "idle3.jsonl", "2\n")
    add(logs / "empty3.jsonl", "3\n")
    assert sorted(read(source)) == ["2", "3"]


def test_a_long_look_is_followed_by_a_longer_pause(
    logs: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a directory of any size takes a small share of the time."""
    source = start(poll_s=0.5)
    monkeypatch.setattr(jsonl, "SHARE", 10)
    times = iter([100.0, 104.0])  # a look of four seconds
    monkeypatch.setattr(jsonl, "time", SimpleNamespace(monotonic=lambda: next(times), time=lambda: 0.0))
    source._look()
    assert source._look_at == 104.0 + 40.0
