"""Reads complete lines from a growing file, in bounded memory.

A line beyond `MAX_LINE` is read through, digested and given as its head with a fault.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

MAX_LINE = 10 << 20
HEAD = 64 << 10
CHUNK = 1 << 20
SIGN = 4096
"""Bytes at a file's start by which it is seen to be the same file still."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its newline, and the bytes it spans with it. `fault`: the value is only the head."""

    start: int
    end: int
    value: bytes
    fault: str | None = None


class LineReader:
    """The lines of one file from an offset on. Owns the handle; opens the path again when it was closed."""

    def __init__(
        self, path: Path, handle: int, offset: int, *, whole: bool = False, max_line: int = MAX_LINE
    ) -> None:
        self.path = path
        self.offset = offset
        """Where the next line starts."""
        self.modified_at = os.fstat(handle).st_mtime
        self._handle: int | None = handle
        self._whole, self._max_line = whole, max_line
        self._inode = _identity(handle)
        self._sign = os.pread(handle, SIGN, 0)
        self._replaced = False
        self._buffer = bytearray()
        self._searched = 0
        self._long: _LongLine | None = None

    @property
    def is_open(self) -> bool:
        return self._handle is not None

    def pending(self) -> bool:
        """Whether there are lines, or bytes, that were not given out yet."""
        if self._buffer.find(b"\n", self._searched) >= 0:
            return True
        if self._handle is None or self._replaced:
            return False
        return os.fstat(self._handle).st_size > self._read_to()

    def continues(self, handle: int) -> bool:
        """Whether the file that this handle has open is the one read so far, perhaps with more at its end."""
        return (
            not self._replaced
            and self._same(handle)
            and at_line_start(handle, self.offset, os.fstat(handle).st_size)
        )

    def next(self) -> Line | None:
        """The next complete line that is not blank; None when there is none yet. Raises OSError."""
        while True:
            line = self._from_buffer()
            if line is not None:
                self.offset = line.end
                if line.value.strip() or line.fault:
                    return line
                continue
            if not self._fill():
                return self._rest()

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _read_to(self) -> int:
        return self.offset + len(self._buffer) + (self._long.size if self._long else 0)

    def _fill(self) -> bool:
        """Reads on. False at the end of the file as it is now, or when it was cut and written anew."""
        if self._replaced:
            return False
        if self._handle is None:
            self._handle = self._opened()
            if self._handle is None:
                return False
        chunk = os.pread(self._handle, CHUNK, self._read_to())
        if not self._same(self._handle):  # looked at after the read: then what was read is still the old file
            self._replaced = True
            return False
        if not chunk:
            return False
        self.modified_at = os.fstat(self._handle).st_mtime
        self._buffer += chunk
        return True

    def _same(self, handle: int) -> bool:
        if os.fstat(handle).st_size < self._read_to():
            return False
        return os.pread(handle, SIGN, 0)[: len(self._sign)] == self._sign

    def _opened(self) -> int | None:
        """The file again, unless the path now names another."""
        if self.path.stat().st_size <= self._read_to():
            return None
        handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait
        if _identity(handle) == self._inode:
            return handle
        os.close(handle)
        return None

    def _from_buffer(self) -> Line | None:
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            if self._long is not None or len(self._buffer) > self._max_line:
                self._swallow(len(self._buffer))
            return None
        self._searched = 0
        if self._long is None and end <= self._max_line:
            value = bytes(self._buffer[:end]).removesuffix(b"\r")
            del self._buffer[: end + 1]
            return Line(self.offset, self.offset + end + 1, value)
        self._swallow(end)
        del self._buffer[:1]
        return self._ended(newline=1)

    def _rest(self) -> Line | None:
        """The end of a whole file ends its last line."""
        if not self._whole or self._read_to() == self.offset:
            return None
        if self._long is not None:
            line = self._ended(newline=0)
        else:
            line = Line(self.offset, self._read_to(), bytes(self._buffer).removesuffix(b"\r"))
            self._buffer.clear()
            self._searched = 0
        self.offset = line.end
        return line if line.value.strip() or line.fault else None

    def _swallow(self, count: int) -> None:
        if self._long is None:
            self._long = _LongLine(bytes(self._buffer[:HEAD]))
        self._long.add(self._buffer[:count])
        del self._buffer[:count]
        self._searched = 0

    def _ended(self, *, newline: int) -> Line:
        assert self._long is not None
        long, self._long = self._long, None
        fault = (
            f"a line of {long.size} bytes is longer than {self._max_line}; its head is kept; {long.digest}"
        )
        return Line(self.offset, self.offset + long.size + newline, long.head, fault)


class _LongLine:
    """What is kept of a line that is too long: head, size, digest."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.size = 0
        self._hash = hashlib.sha256()

    def add(self, part: bytearray) -> None:
        self._hash.update(part)
        self.size += len(part)

    @property
    def digest(self) -> str:
        return f"sha256 {self._hash.hexdigest()}"


def at_line_start(handle: int, offset: int, size: int) -> bool:
    """Whether a line can start there: at the start, after a newline, or where a whole file ended."""
    if offset > size:
        return False
    return offset in {0, size} or os.pread(handle, 1, offset - 1) == b"\n"


def _identity(handle: int) -> tuple[int, int]:
    status = os.fstat(handle)
    return status.st_dev, status.st_ino
