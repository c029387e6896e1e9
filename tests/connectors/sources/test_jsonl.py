"""Following a directory of JSONL files through rotation, truncation and trouble."""

import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

from connectors.base import Partition, Record
from connectors.errors import FatalError, TransientError
from connectors.sources import jsonl, lines
from tests.connectors.sources.following import DEADLINE_S, Start, add, read
from tests.contracts.sources import Positions


def test_offsets_are_bytes(logs: Path, start: Start) -> None:
    """A record is a line without its end; its offset is a byte; blank lines are no records."""
    (logs / "a.jsonl").write_bytes("é1\r\n\n \nb\n".encode())
    first, second = start().receive(0.0)
    assert (first.value, first.offset, first.next_offset) == ("é1".encode(), 0, 5)
    assert (second.value, second.offset, second.next_offset) == (b"b", 8, 10)
    assert first.timestamp == pytest.approx(time.time(), abs=60)
    assert first.partition == second.partition


def test_a_partial_last_line_is_not_there_yet(logs: Path, start: Start) -> None:
    """A line is given when its newline is, in whatever pieces it is written."""
    file = logs / "a.jsonl"
    source = start()
    add(file, '{"a":')
    assert read(source) == []
    add(file, "1}\n", '{"b":')
    assert read(source) == ['{"a":1}']
    add(file, "2")
    assert read(source) == []
    add(file, "}\n")
    assert read(source) == ['{"b":2}']


def test_a_partial_line_survives_a_restart(logs: Path, start: Start) -> None:
    """Another process reads the line whole."""
    file, store = logs / "a.jsonl", Positions()
    add(file, "one\n", "tw")
    assert read(start(store), store) == ["one"]
    add(file, "o\n")
    assert read(start(store), store) == ["two"]


def test_rotation_by_rename(logs: Path, start: Start) -> None:
    """The renamed file is read on to its end, the new one from its start; nothing comes twice."""
    file, store = logs / "a.jsonl", Positions()
    source = start(store)
    add(file, "1\n", "2\n")
    assert read(source, store) == ["1", "2"]
    add(file, "3\n")
    file.rename(logs / "a.jsonl.1")
    add(logs / "a.jsonl.1", "4\n")  # the writer has not noticed yet
    add(file, "5\n")
    assert sorted(read(source, store)) == ["3", "4", "5"]
    assert read(start(store), store) == []


def test_rotation_by_rename_while_down(logs: Path, start: Start) -> None:
    """A renamed file keeps its position over a restart."""
    file, store = logs / "a.jsonl", Positions()
    add(file, "1\n", "2\n")
    assert read(start(store), store) == ["1", "2"]
    add(file, "3\n")
    file.rename(logs / "a.jsonl.1")
    add(file, "4\n")
    assert sorted(read(start(store), store)) == ["3", "4"]


@pytest.mark.parametrize("restart", [False, True])
def test_copytruncate(logs: Path, start: Start, restart: bool) -> None:
    """The copy is read whole (deduplicated further on); the truncated file starts anew; nothing is lost."""
    file, store = logs / "a.jsonl", Positions()
    source = start(store)
    add(file, "1\n", "2\n")
    assert read(source, store) == ["1", "2"]
    add(file, "3\n")
    shutil.copyfile(file, logs / "a.jsonl.1")
    os.truncate(file, 0)
    add(file, "4\n")
    if restart:
        source = start(store)
    assert sorted(set(read(source, store)) - {"1", "2"}) == ["3", "4"]
    add(file, "5\n")
    assert read(source, store) == ["5"]


def test_truncation_to_the_same_first_line(logs: Path, start: Start) -> None:
    """A file cut and begun again with the very same line is a further generation, also after a restart."""
    file, store = logs / "a.jsonl", Positions()
    source = start(store)
    add(file, "head\n", "1\n", "2\n")
    assert read(source, store) == ["head", "1", "2"]
    os.truncate(file, 0)
    add(file, "head\n", "3\n")
    assert read(source, store) == ["head", "3"]
    assert sorted(partition.partition for partition in store.known) == [0, 1]
    os.truncate(file, 0)
    add(file, "head\n")
    again = start(store)
    assert read(again, store) == ["head"]
    add(file, "4\n")
    assert read(again, store) == ["4"]
    assert sorted(partition.partition for partition in store.known) == [0, 1, 2]


def test_a_file_written_anew_beyond_the_position(logs: Path, start: Start) -> None:
    """A file cut and written beyond the old position between two looks is never read from its middle."""
    file = logs / "a.jsonl"
    source = start(poll_s=3600.0)
    add(file, "old 1\n", "old 2\n", "old")
    assert read(source) == ["old 1", "old 2"]
    os.truncate(file, 0)
    add(file, *(f"new line {number}\n" for number in range(10)))
    assert read(source) == []
    source._look_at = float("-inf")
    assert read(source) == [f"new line {number}" for number in range(10)]


def test_files_that_come_later_and_go(logs: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """New files are taken up; a deleted one is read to its end and then forgotten."""
    monkeypatch.setattr(jsonl, "LINGER_S", 0.0)
    source = start()
    assert read(source) == []
    add(logs / "a.jsonl", "1\n")
    assert read(source) == ["1"]
    add(logs / "b.jsonl", "2\n", "3\n")
    (record,) = source.receive(0.0, 1)
    (logs / "b.jsonl").unlink()
    source.commit({record.partition: record.next_offset})
    assert read(source) == ["3"]
    read(source)
    assert len(source.lag()) == 1


def test_a_file_without_a_first_line_is_not_named_yet(logs: Path, start: Start) -> None:
    """Empty files and a first line under way are waited for."""
    (logs / "a.jsonl").touch()
    source = start()
    assert read(source) == []
    assert source.lag() == {}


def test_other_files_are_left_alone(logs: Path, start: Start) -> None:
    """Files beyond the pattern, compressed ones and directories are not read."""
    for name in ("a.txt", "a.jsonl.gz", "a.jsonl.1.zst", ".hidden"):
        (logs / name).write_text("no\n", encoding="utf-8")
    (logs / "d.jsonl").mkdir()
    add(logs / "a.jsonl", "yes\n")
    assert read(start()) == ["yes"]


def test_an_unreadable_file_is_told_and_holds_up_no_other(
    logs: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The readable files come; then a transient error names the other; once readable it is read."""
    add(logs / "a.jsonl", "1\n")
    add(logs / "b.jsonl", "2\n")
    opened = os.open

    def refusing(path: Path, flags: int) -> int:
        if Path(path).name == "b.jsonl":
            raise PermissionError(13, "Permission denied")
        return opened(path, flags)

    source = start()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refusing)
        assert [record.value for record in source.receive(0.0)] == [b"1"]
        with pytest.raises(TransientError, match=r"b\.jsonl: Permission denied"):
            source.receive(0.0)
    assert read(source) == ["2"]


def test_a_trouble_stays_until_a_look_finds_it_over(tmp_path: Path, start: Start) -> None:
    """Also between two looks: nothing seems well that is not."""
    source = start(path=tmp_path / "later", poll_s=3600.0)
    for _ in range(3):
        with pytest.raises(TransientError, match="later: No such file or directory"):
            source.receive(0.0)
    (tmp_path / "later").mkdir()
    source._look_at = float("-inf")
    assert source.receive(0.0) == []


def test_a_missing_directory_is_waited_for(tmp_path: Path, start: Start) -> None:
    """It is a transient error: the agent may not have started yet."""
    source = start(path=tmp_path / "later")
    with pytest.raises(TransientError, match="later: No such file or directory"):
        source.receive(0.0)
    (tmp_path / "later").mkdir()
    add(tmp_path / "later" / "a.jsonl", "1\n")
    assert read(source) == ["1"]


@pytest.mark.parametrize("pieces", [1, 7])
def test_an_oversize_line_is_a_fault(
    logs: Path, start: Start, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    """It comes as its head with size and digest, without being held whole; the lines around it come too."""
    monkeypatch.setattr(lines, "CHUNK", 4096)
    large = "x" * 300_001
    source = start(max_line=100_000)
    file = logs / "a.jsonl"
    add(file, "1\n")
    assert read(source) == ["1"]
    step = len(large) // pieces + 1
    for begin in range(0, len(large), step):
        add(file, large[begin : begin + step])
        assert source.receive(0.0) == []
        (only,) = source._files.values()
        assert len(only.reader._buffer) <= 100_000 + 4096
    add(file, "\n2\n")
    record, after = source.receive(0.0)
    assert record.value == b"x" * lines.HEAD
    assert (record.offset, record.next_offset) == (2, 2 + 300_002)
    assert "300001 bytes" in (record.fault or "")
    assert hashlib.sha256(large.encode()).hexdigest() in (record.fault or "")
    assert (after.value, after.fault) == (b"2", None)


def test_many_files_do_not_use_up_the_handles(
    logs: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit idle files are closed; they are read on when they grow."""
    monkeypatch.setattr(jsonl, "OPEN_FILES", 5)
    for number in range(40):
        add(logs / f"{number}.jsonl", f"{number}\n")
    source = start()
    assert len(read(source)) == 40
    assert sum(file.reader.is_open for file in source._files.values()) <= 5
    for number in range(40):
        add(logs / f"{number}.jsonl", f"more {number}\n")
    assert sorted(read(source)) == sorted(f"more {number}" for number in range(40))


def test_a_busy_file_starves_no_other(logs: Path, start: Start) -> None:
    """Files take turns."""
    add(logs / "a.jsonl", *(f"{number}\n" for number in range(5000)))
    add(logs / "b.jsonl", "small\n")
    source = start()
    seen: list[Record] = []
    for _ in range(3):
        seen.extend(source.receive(0.0, 100))
    assert b"small" in {record.value for record in seen}


def test_a_whole_file(logs: Path, start: Start) -> None:
    """With `whole` one file is read, its last line without a newline too, and a second time nothing."""
    file, store = logs / "a.jsonl", Positions()
    add(file, "1\n", "2")
    add(logs / "b.jsonl", "3\n")
    assert read(start(store, path=file, whole=True), store) == ["1", "2"]
    assert read(start(store, path=file, whole=True), store) == []
    with pytest.raises(FatalError, match="absent"):
        start(path=logs / "absent", whole=True).receive(0.0)


def test_waiting_ends_with_close(logs: Path, start: Start) -> None:
    """A closed source answers at once."""
    source = start()
    source.close()
    before = time.monotonic()
    assert source.receive(DEADLINE_S) == []
    assert time.monotonic() - before < DEADLINE_S / 2


def test_names_are_stable(logs: Path, start: Start) -> None:
    """Device, inode and first line name a file, whatever its path and length."""
    add(logs / "a.jsonl", "first\n")
    (one,) = start().receive(0.0)
    (logs / "a.jsonl").rename(logs / "z.jsonl")
    add(logs / "z.jsonl", "second\n")
    two, _ = start().receive(0.0)
    assert one.partition == two.partition
    assert one.partition == Partition(one.partition.topic, 0)
