"""A file is whole or not there: whatever stops its writer, and whoever writes beside it."""

import os
import signal
import stat
import threading
from pathlib import Path

import pytest

from policies import durable
from policies.durable import ABANDONED_S


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    """The path holds what was written last, and nothing else is left in the directory."""
    path = tmp_path / "a.json"
    durable.write(path, b"one")
    durable.write(path, b"two")
    assert (path.read_bytes(), names(tmp_path)) == (b"two", ["a.json"])


def test_a_writer_killed_at_any_step_leaves_the_old_or_the_new_content(tmp_path: Path) -> None:
    """Killed before every call to the system that it makes: a reader never sees a part."""
    path = tmp_path / "a.json"
    durable.write(path, b"old")
    seen: list[bytes] = []
    for step in range(100):
        child = os.fork()
        if child == 0:
            _die_at(step)
            durable.write(path, b"new" * 1000)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        seen.append(path.read_bytes())
        if os.waitstatus_to_exitcode(status) == 0:
            break
        durable.write(path, b"old")
    assert set(seen) == {b"old", b"new" * 1000}
    assert seen[0] == b"old"
    assert len(seen) >= 6


def _die_at(step: int) -> None:
    """Ends this process at its n-th call to the system, as a kill would."""
    left = [step]

    def wrapped(call: object) -> object:
        def run(*args: object, **named: object) -> object:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return call(*args, **named)  # type: ignore[operator]

        return run

    for name in ("open", "fsync", "lstat", "replace", "close", "fdopen"):
        setattr(os, name, wrapped(getattr(os, name)))


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    """The error is the system's, and no temporary file stays."""
    directory = tmp_path / "taken"
    directory.mkdir()
    with pytest.raises(OSError, match="taken"):
        durable.write(directory, b"x")
    assert names(tmp_path) == ["taken"]
    with pytest.raises(FileNotFoundError):
        durable.write(tmp_path / "none" / "a", b"x")


def test_permissions_are_kept_or_given(tmp_path: Path) -> None:
    """A replaced file keeps its own; a new one has the umask's; a mode that is given is exact."""

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    umask = os.umask(0o027)
    try:
        durable.write(tmp_path / "new", b"x")
        (tmp_path / "kept").touch(0o600)
        durable.write(tmp_path / "kept", b"x")
        durable.write(tmp_path / "given", b"x", mode=0o606)
        durable.create(tmp_path / "created", b"x", mode=0o444)
    finally:
        os.umask(umask)
    assert [mode(tmp_path / name) for name in ("new", "kept", "given", "created")] == [
        *(0o640, 0o600),
        *(0o606, 0o444),
    ]


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Neither one at the path, which is replaced, nor one where a new file should be, which is refused."""
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_bytes(b"precious")
    link.symlink_to(victim)
    with pytest.raises(FileExistsError):
        durable.create(link, b"x")
    durable.write(link, b"x")
    assert (victim.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"precious", b"x", False)


def test_what_killed_writers_left_is_swept_once_it_is_old(tmp_path: Path) -> None:
    """Not that of a writer at work, nor another file's; a name with a wildcard is a name like another."""
    old, young = tmp_path / ".a[1]*.00000000.new", tmp_path / ".a[1]*.11111111.new"
    other = tmp_path / ".a1b.00000000.new"
    for path in (old, young, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - ABANDONED_S - 10))
    durable.write(tmp_path / "a[1]*", b"x")
    assert names(tmp_path) == sorted([young.name, other.name, "a[1]*"])


def test_writers_at_once_leave_one_whole_content(tmp_path: Path) -> None:
    """Each has a temporary file of its own."""
    path = tmp_path / "a"
    bodies = [bytes([number]) * 10_000 for number in range(8)]
    threads = [threading.Thread(target=durable.write, args=(path, body)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in bodies
    assert names(tmp_path) == ["a"]


def test_a_named_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    """The same bytes give the same file, in a directory that is made."""
    name, path = durable.write_named(tmp_path / "made", b"x", suffix=".jsonl")
    assert durable.write_named(tmp_path / "made", b"x", suffix=".jsonl") == (name, path)
    assert name == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert (path.read_bytes(), names(tmp_path / "made")) == (b"x", [f"{name}.jsonl"])
    assert not durable.is_temporary(path)
    assert durable.is_temporary(path.with_name(f".{path.name}.0a1b2c3d.new"))
