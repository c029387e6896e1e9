"""One file that is one document: JSON over many lines, as exports write it, or an OTLP request in protobuf.
Its events are records.

The items of an array are a record each, an object is one. A record's offset is the byte it starts at. What
cannot be read on from is one record to the end of the file, and what follows the document is one too: nothing
is passed over in silence.
"""

import hashlib
import json
import os
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

from connectors.base import Partition, Reading, Record, Resume
from connectors.decoders.otlp import from_proto
from connectors.errors import FatalError
from connectors.sources.lines import HEAD, MAX_LINE

MAX_DOCUMENT = 256 << 20
"""Bytes of a document: it is read whole."""

_BOM = b"\xef\xbb\xbf"
_BLANK = re.compile(r"[ \t\r\n]*")
# Only where a value ends is asked for here. Its bytes are parsed, and refused, where every record's are.
_SCAN = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str).raw_decode
_BROKEN = (ValueError, RecursionError)


def is_document(path: Path) -> bool:
    """Whether a file is one JSON array or object over many lines: its first line is no JSON by itself, and
    what begins there goes on. Or it is one OTLP request in protobuf, whose bytes are no lines. Raises
    OSError, and FatalError for a document that is too large to be read.
    """
    with path.open("rb") as file:
        first = file.readline(MAX_LINE)
        if from_proto.begins(first) and from_proto.is_request(first + file.read(MAX_LINE)):
            return True
        file.seek(len(first))
        line = first.removeprefix(_BOM)
        while line.isspace():
            line = file.readline(MAX_LINE)
        if not line.lstrip().startswith((b"[", b"{")) or not line.endswith(b"\n") or _whole(line):
            return False
        size = os.fstat(file.fileno()).st_size
        content = line + file.read(MAX_DOCUMENT)
    if not _goes_on(content.decode("latin-1"), len(line)):
        return False
    if size > MAX_DOCUMENT:
        raise FatalError(
            f"{path}: one JSON document of {size} bytes, more than {MAX_DOCUMENT}: write one event a line "
            "(`jq -c '.[]'`)"
        )
    return True


class DocumentSource:
    """Reads one document. `receive` gives at most `max_records` that are not committed."""

    def __init__(self, *, name: str, path: Path, max_records: int = 5000) -> None:
        self.name = name
        self._path, self._max_records = path, max_records
        self._content = b""
        self._partition: Partition | None = None
        self._modified_at = 0.0
        self._pieces: Iterator[tuple[int, int]] = iter(())
        self._stored = 0
        self._out: deque[int] = deque()

    def start(self, resume: Resume) -> None:
        """Raises FatalError for a file that cannot be read."""
        try:
            with self._path.open("rb") as file:
                status, self._content = os.fstat(file.fileno()), file.read()
        except OSError as error:
            raise FatalError(f"{self._path}: {error.strerror}") from None
        digest = hashlib.sha256(self._content).hexdigest()[:16]
        self._partition = Partition(f"{status.st_dev:x}-{status.st_ino:x}-{digest}", 0)
        self._modified_at = status.st_mtime
        self._stored = resume([self._partition]).get(self._partition, 0)
        self._pieces = (piece for piece in pieces(self._content) if piece[0] >= self._stored)

    def receive(self, timeout_s: float, limit: int = 500) -> list[Record]:
        """What is left of it. It never waits: no more will come."""
        del timeout_s
        records: list[Record] = []
        while len(records) < limit and len(self._out) < self._max_records:
            piece = next(self._pieces, None)
            if piece is None:
                break
            records.append(self._record(*piece))
            self._out.append(piece[1])
        return records

    def commit(self, positions: Mapping[Partition, int]) -> None:
        for partition, offset in positions.items():
            if partition == self._partition:
                self._stored = max(self._stored, offset)
                while self._out and self._out[0] <= offset:
                    self._out.popleft()

    def lag(self) -> Mapping[Partition, int]:
        if self._partition is None:
            return {}
        return {self._partition: len(self._content) - self._stored if self._out else 0}

    def reading(self) -> Reading:
        return Reading(int(self._partition is not None), time.time())

    def close(self) -> None:
        self._pieces, self._content = iter(()), b""

    def _record(self, start: int, end: int) -> Record:
        assert self._partition is not None
        value, fault = self._content[start:end], None
        if len(value) > MAX_LINE:
            digest = hashlib.sha256(value).hexdigest()
            fault = f"{len(value)} bytes are more than {MAX_LINE}; the head is kept; sha256 {digest}"
            value = value[:HEAD]
        return Record(self._partition, start, end, value, self._modified_at, fault=fault)


def pieces(content: bytes) -> Iterator[tuple[int, int]]:
    """Where the events of a document begin and end, in bytes. A document without an item is one piece."""
    if from_proto.is_request(content):
        yield 0, len(content)
        return
    text = content.decode("latin-1")  # a character a byte: offsets in one are offsets in the other
    at = _after_blanks(text, len(_BOM) if content.startswith(_BOM) else 0)
    start, found = at, 0
    try:
        if text[at : at + 1] == "[":
            for begin, end in _items(text, at + 1):
                at = end
                if begin < end:
                    found += 1
                    yield begin, end
        else:
            at = _SCAN(text, at)[1]
            found += 1
            yield start, at
    except _BROKEN:
        at = at if found else start
    if not found:
        yield start, len(text)
        return
    rest = _after_blanks(text, at)
    if text[rest : rest + 1] == ",":
        rest = _after_blanks(text, rest + 1)
    if rest < len(text):
        yield rest, len(text)


def _items(text: str, at: int) -> Iterator[tuple[int, int]]:
    """An array's items, then its end as an empty piece. Raises ValueError where it does not go on."""
    closed = re.compile(r"[ \t\r\n]*\]").match(text, at)
    while closed is None:
        begin = _after_blanks(text, at)
        end = _SCAN(text, begin)[1]
        yield begin, end
        at = _after_blanks(text, end)
        if text[at : at + 1] not in {",", "]"}:
            raise ValueError("neither a comma nor the end")
        at += 1
        if text[at - 1] == "]":
            yield at, at
            return
    yield closed.end(), closed.end()


def _after_blanks(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    assert match is not None
    return match.end()


def _goes_on(text: str, line: int) -> bool:
    """Whether what begins in the first line goes on after it: an object that ends later, or an array whose
    first item is whole.
    """
    at = _after_blanks(text, 0)
    try:
        if text[at] == "[":
            next(_items(text, at + 1))
            return True
        return _SCAN(text, at)[1] > line
    except _BROKEN:
        return False


def _whole(line: bytes) -> bool:
    """Whether a line is JSON by itself."""
    text = line.decode("latin-1").strip()
    try:
        return _SCAN(text)[1] == len(text)
    except _BROKEN:
        return False
