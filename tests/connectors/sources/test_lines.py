"""Reading lines costs in proportion to the file, whatever the lines are."""

import os
from pathlib import Path

import pytest

from connectors.sources import lines
from connectors.sources.lines import LineReader
from tests.growth import LINEAR, growth


@pytest.mark.parametrize("piece", ["\n", "x\n", "\r\n", " ", "x", '{"a": 1}\n'])
def test_lines_cost_in_proportion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: str) -> None:
    """Blank lines, short ones, and one that never ends."""
    monkeypatch.setattr(lines, "CHUNK", 16 << 10)
    size = 30_000
    for each in (size, 8 * size):
        (tmp_path / str(each)).write_text(piece * (each // len(piece)), encoding="utf-8")

    def read(each: int) -> None:
        path = tmp_path / str(each)
        reader = LineReader(path, os.open(path, os.O_RDONLY), 0, whole=True, max_line=100_000)
        while reader.next() is not None:
            pass
        reader.close()

    assert growth(read, size) < LINEAR
