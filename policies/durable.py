"""Files that are whole or not there, also across a kill and a power loss.

A body is written beside its place under a name that nobody else takes, synced to the disk, and renamed: at
every instant the path leads to the whole old content or to the whole new one. The directory is synced last,
so that what was reported as written is there when the power comes back.
"""

import hashlib
import os
import secrets
import stat
from pathlib import Path

SUFFIX = ".new"
ABANDONED_S = 3600.0
"""A temporary file so much older than a fresh one is what a killed process left behind."""


def write(path: Path, body: bytes, *, mode: int | None = None) -> None:
    """Makes `body` the content of `path`, whose directory exists, in one durable rename.

    With `mode` the file gets exactly these permissions; without, a file that is replaced keeps its own, and a
    new one has what the umask leaves. Neither a link at `path` nor one beside it is followed. Raises OSError,
    and leaves what was there.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{SUFFIX}")
    try:
        create(temporary, body, mode=_mode_of(path) if mode is None else mode)
        _sweep(path, temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_named(directory: Path, body: bytes, *, suffix: str) -> tuple[str, Path]:
    """Writes `<directory>/<SHA-256 of the body><suffix>` and returns the digest and the path. Makes the
    directory where there is none. The same body gives the same file.
    """
    name = hashlib.sha256(body).hexdigest()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}{suffix}"
    write(path, body)
    return name, path


def create(path: Path, body: bytes, *, mode: int | None = None) -> None:
    """Writes a new file, synced, with exactly the permissions of `mode` (None: what the umask leaves).

    It may be seen in part: it is for what lies in a directory that gets its name later, with a `sync` of that
    directory before. Raises FileExistsError where anything has the name, also a link.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o666 if mode is None else mode), "wb") as file:
        file.write(body)
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Makes durable what a file holds, or which entries a directory has."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_temporary(path: Path) -> bool:
    """Whether the name is one under which `write` keeps a file before it is whole."""
    return path.name.startswith(".") and path.name.endswith(SUFFIX)


def _mode_of(path: Path) -> int | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return stat.S_IMODE(found.st_mode) if stat.S_ISREG(found.st_mode) else None


def _sweep(path: Path, fresh: Path) -> None:
    """Removes what killed writers of `path` left. Their age is by the file system's own time, which is one
    also where several machines write; a writer that is at work is younger by far.
    """
    oldest = fresh.lstat().st_mtime - ABANDONED_S
    for left in path.parent.glob(f".{_literal(path.name)}.????????{SUFFIX}"):
        try:
            if left.lstat().st_mtime < oldest:
                left.unlink()
        except FileNotFoundError:  # another writer swept it
            continue


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
