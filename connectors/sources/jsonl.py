"""A directory of JSONL files, followed like a topic.

* A record is a line; its offset is the byte it starts at. A last line without its newline is not there yet.
* A partition is a file, named by device, inode and the digest of its first line's head. A renamed file keeps
  its name here and is read on; a copy is another file, is read whole, and deduplicated by event id.
* `Partition.partition` counts generations: a file that was truncated (or overwritten, so that the stored
  position is no longer at a line's start) starts again at 0 as the next generation.
* Rotation by rename and by copytruncate lose nothing as long as the rotated file matches the pattern.
  Compressed files (`.gz`, `.bz2`, `.xz`, `.zst`) are ignored: rotate with `delaycompress`, and leave them.
* A file that goes away while it is being read is read to its end.
* Links are not followed: they may lead to themselves, out of the directory, or to what blocks. One entry that
  cannot be read is told and holds up no other.
* Looking at the directory takes at most a tenth of the time, however many files there are: the more there
  are, the longer until the next look. A file in which a look found no change costs nothing until the next.
"""

import fnmatch
import hashlib
import os
import re
import stat
import threading
import time
from collections import deque
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from connectors.base import Partition, Reading, Record, Resume
from connectors.errors import FatalError, TransientError
from connectors.sources.lines import MAX_LINE, Line, LineReader, at_line_start

IGNORED = (".gz", ".bz2", ".xz", ".zst", ".tmp", ".swp")
HEAD = 64 << 10
"""Bytes of the first line that name a file."""
OPEN_FILES = 64
"""Files kept open; others are opened when they grow."""
SHARE = 10
"""A look at the directory is followed by so many times its duration without one."""
LINGER_S = 5.0
"""A file that left the directory is still followed for so long: its writer may not have noticed."""


@dataclass(slots=True)
class _File:
    """A followed file: where it is, what names it, and how far it is read and stored."""

    path: Path
    partition: Partition
    reader: LineReader
    stored: int
    seen: os.stat_result
    gone_since: float | None = None
    out: deque[tuple[int, int]] = field(default_factory=deque)
    """End and size of each record that was given out and is not committed."""

    @property
    def inode(self) -> tuple[int, int]:
        return self.seen.st_dev, self.seen.st_ino


class JsonlSource:
    """Follows the files of a directory that match a pattern, or reads one file (`whole`).

    `poll_s` is how often the directory is looked at. With `whole`, the end of the file ends its last line.
    At most `max_records` or `max_bytes` are out and not yet committed.
    """

    def __init__(
        self,
        *,
        name: str,
        path: Path,
        pattern: str = "*.jsonl*",
        poll_s: float = 0.5,
        whole: bool = False,
        max_records: int = 5000,
        max_bytes: int = 64 << 20,
        max_line: int = MAX_LINE,
    ) -> None:
        self.name = name
        self._path, self._poll_s, self._whole = path, poll_s, whole
        self._matches = re.compile(fnmatch.translate(pattern)).match
        self._max_records, self._max_bytes, self._max_line = max_records, max_bytes, max_line
        self._files: dict[Partition, _File] = {}
        self._ready: dict[Partition, None] = {}
        """Files that may have something to read: new, changed, or not read to their end."""
        self._look_at = float("-inf")
        self._turn = 0
        self._out_records = self._out_bytes = 0
        self._trouble: str | None = None
        """What the last look could not read: told at every call until a look finds nothing to tell."""
        self._well_at: float | None = None
        self._resume: Resume | None = None
        self._closed = threading.Event()

    def start(self, resume: Resume) -> None:
        self._resume = resume

    def receive(self, timeout_s: float, limit: int = 500) -> list[Record]:
        deadline = time.monotonic() + timeout_s
        while not self._closed.is_set():
            self._look()
            records = self._read(limit)
            if records:
                return records
            if self._trouble is not None:
                raise FatalError(self._trouble) if self._whole else TransientError(self._trouble)
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._closed.wait(min(left, self._poll_s))
        return []

    def commit(self, positions: Mapping[Partition, int]) -> None:
        for partition, offset in positions.items():
            file = self._files.get(partition)
            if file is None:
                continue
            file.stored = max(file.stored, offset)
            while file.out and file.out[0][0] <= offset:
                self._out_bytes -= file.out.popleft()[1]
                self._out_records -= 1

    def lag(self) -> Mapping[Partition, int]:
        return {
            partition: max(0, file.seen.st_size - (file.stored if file.out else file.reader.offset))
            for partition, file in self._files.items()
        }

    def reading(self) -> Reading:
        return Reading(len(self._files), self._well_at)

    def close(self) -> None:
        self._closed.set()
        for file in self._files.values():
            file.reader.close()

    def _look(self) -> None:
        """Finds files that came, moved, were cut or went away. At most every `poll_s`."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._trouble = None
        self._find(now)
        if self._trouble is None:
            self._well_at = time.time()
        took = time.monotonic() - now
        self._look_at = now + took + max(self._poll_s, SHARE * took)

    def _find(self, now: float) -> None:
        met: set[Partition] = set()
        known = {file.inode: file for file in self._files.values()}
        try:
            paths = self._paths(known)
        except OSError as error:
            self._trouble = f"{self._path}: {error.strerror}"
            return
        for path in paths:
            try:
                partition = self._meet(path, known)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and not self._whole:
                    continue  # renamed between the listing and now: met under its new name next time
                self._trouble = f"{path}: {error.strerror}"
            else:
                if partition is not None:
                    met.add(partition)
        self._forget(met, now)

    def _paths(self, known: Container[tuple[int, int]]) -> list[Path]:
        """The files to follow, by name. What is no file is passed over, and so is one that is empty still."""
        if self._whole:
            return [self._path]
        found: list[str] = []
        with os.scandir(self._path) as entries:
            for entry in entries:
                name = entry.name
                if not self._matches(name) or name.endswith(IGNORED):
                    continue
                if entry.is_file(follow_symlinks=False) and _has_content(entry, known):
                    found.append(name)
        return [self._path / name for name in sorted(found)]

    def _meet(self, path: Path, files: Mapping[tuple[int, int], _File]) -> Partition | None:
        """The partition of the file at a path, taken up if it is new; None while it has no first line."""
        status = path.stat(follow_symlinks=self._whole)
        known = files.get((status.st_dev, status.st_ino))
        if known is not None and _unchanged(known.seen, status):
            known.path = known.reader.path = path
            return known.partition
        # A link or a pipe that took the place of the file since the listing neither leads away nor blocks.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if self._whole else os.O_NOFOLLOW)
        handle = os.open(path, flags)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                return None
            name = _name(handle, status, whole=self._whole)
            if known is not None:
                if name == known.partition.topic and known.reader.continues(handle):
                    known.path = known.reader.path = path
                    known.seen = status
                    self._ready[known.partition] = None
                    return known.partition
                self._drop(known)
            if name is None:
                return None
            partition, offset = self._placed(name, status.st_size, handle)
            if known is not None and partition == known.partition:
                partition, offset = Partition(name, partition.partition + 1), 0
            reader = LineReader(path, handle, offset, whole=self._whole, max_line=self._max_line)
            self._files[partition] = _File(path, partition, reader, offset, status)
            self._ready[partition] = None
            handle = -1
        finally:
            if handle >= 0:
                os.close(handle)
        return partition

    def _placed(self, name: str, size: int, handle: int) -> tuple[Partition, int]:
        """The generation to go on with, and where: the last one the store knows, or the one after it."""
        assert self._resume is not None
        generation, last = 0, None
        while True:
            partition = Partition(name, generation)
            found = self._resume([partition]).get(partition)
            if found is None:
                break
            generation, last = generation + 1, found
        if last is None:
            return Partition(name, 0), 0
        if at_line_start(handle, last, size):
            return Partition(name, generation - 1), last
        return Partition(name, generation), 0

    def _forget(self, met: set[Partition], now: float) -> None:
        """Drops files that have been gone for a while; closes what is idle beyond the open limit."""
        for partition, file in list(self._files.items()):
            if partition in met:
                file.gone_since = None
                continue
            file.gone_since = now if file.gone_since is None else file.gone_since
            self._ready[partition] = None  # nobody looks at it any more: it may still grow
            if now - file.gone_since >= LINGER_S and not file.reader.pending() and not file.out:
                self._drop(file)
        idle = [file for file in self._files.values() if file.reader.is_open and not file.reader.pending()]
        for file in idle[: max(0, len(self._files) - OPEN_FILES)]:
            file.reader.close()

    def _drop(self, file: _File) -> None:
        file.reader.close()
        self._out_records -= len(file.out)
        self._out_bytes -= sum(size for _, size in file.out)
        del self._files[file.partition]
        self._ready.pop(file.partition, None)

    def _read(self, limit: int) -> list[Record]:
        """Records of each file in turn, so that one that never ends holds up no other."""
        files = [self._files[partition] for partition in self._ready]
        if not files:
            return []
        self._turn = (self._turn + 1) % len(files)
        records: list[Record] = []
        for file in files[self._turn :] + files[: self._turn]:
            try:
                for record in self._lines(file, limit - len(records)):
                    records.append(record)  # noqa: PERF402 - what was read before an error is kept
            except OSError as error:
                self._trouble = f"{file.path}: {error.strerror}"
        return records

    def _lines(self, file: _File, limit: int) -> Iterator[Record]:
        while limit > 0 and self._out_records < self._max_records and self._out_bytes < self._max_bytes:
            line = file.reader.next()
            if line is None:
                self._ready.pop(file.partition, None)
                return
            limit -= 1
            self._out_records += 1
            self._out_bytes += len(line.value)
            file.out.append((line.end, len(line.value)))
            yield self._record(file, line)

    def _record(self, file: _File, line: Line) -> Record:
        return Record(
            file.partition, line.start, line.end, line.value, file.reader.modified_at, fault=line.fault
        )


def _name(handle: int, status: os.stat_result, *, whole: bool) -> str | None:
    """Device, inode and the digest of the first line's head; None while there is no first line yet."""
    head = os.pread(handle, HEAD, 0)
    end = head.find(b"\n")
    if end < 0 and len(head) < HEAD and not (whole and head):
        return None
    digest = hashlib.sha256(head if end < 0 else head[:end]).hexdigest()[:16]
    return f"{status.st_dev:x}-{status.st_ino:x}-{digest}"


def _has_content(entry: "os.DirEntry[str]", known: Container[tuple[int, int]]) -> bool:
    """Whether there is something in a file, or was: a followed one may have been cut."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False  # it went away since the listing
    return status.st_size > 0 or (status.st_dev, status.st_ino) in known


def _unchanged(before: os.stat_result, now: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) == (now.st_size, now.st_mtime_ns)
