"""A JSON document over many lines is a source whose records are its events."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from connectors.base import Partition, Record
from connectors.errors import FatalError
from connectors.sources import document
from connectors.sources.document import DocumentSource, is_document, pieces
from tests.growth import LINEAR, growth


def write(directory: Path, text: str | bytes) -> Path:
    path = directory / "export.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def cut(text: str) -> list[str]:
    """The pieces of a document."""
    content = text.encode()
    return [content[start:end].decode() for start, end in pieces(content)]


def read(path: Path, stored: dict[Partition, int] | None = None) -> list[Record]:
    source = DocumentSource(name="s", path=path)
    source.start(lambda _: stored or {})
    found: list[Record] = []
    while batch := source.receive(0.0, 3):
        found += batch
        source.commit({each.partition: each.next_offset for each in batch})
    assert set(source.lag().values()) == {0}
    source.close()
    return found


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ('{\n "a": 1}', True),
        ('[\n {"a": 1},\n {"a": 2}]', True),
        ('\n\n[{"a": 1},\n{"a": 2}]\n', True),
        ("\ufeff[\n1]", True),
        ('[\n {"a": 1},\n {"a": 2', True),
        ('{"a": 1}\n{"a": 2}\n', False),
        ('[{"a": 1}]\n[{"a": 2}]\n', False),
        ('{"a": [\n{"a": 2}\n{"a": 3}\n', False),
        ("plain\ntext\n", False),
        ('{"a": 1}', False),
        ("", False),
        ("\n \n", False),
        ("[" * 100_000 + "\n" + "]" * 100_000, False),
    ],
)
def test_a_document_is_told_from_lines(tmp_path: Path, text: str, right: bool) -> None:
    """By its first line, which is no JSON by itself, and by what goes on after it."""
    assert is_document(write(tmp_path, text)) == right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ('{\n "a": 1}', ['{\n "a": 1}']),
        ('[\n {"a": 1} ,\n {"b": "é]"}\n]\n', ['{"a": 1}', '{"b": "é]"}']),
        ("\ufeff[\n 1, NaN, " + "9" * 9000 + "]", ["1", "NaN", "9" * 9000]),
        ('[\n {"a": 1}, {"a', ['{"a": 1}', '{"a']),
        ('[\n {"a": 1} {"a": 2}]', ['{"a": 1}', '{"a": 2}]']),
        ('[\n {"a": 1}]\n{"a": 2}', ['{"a": 1}', '{"a": 2}']),
        ("[\n]", ["[\n]"]),
        ("[\n]\nmore", ["[\n]\nmore"]),
        ('{\n "a": 1} more', ['{\n "a": 1}', "more"]),
    ],
)
def test_every_byte_of_a_document_is_in_a_record(text: str, right: list[str]) -> None:
    """Items by themselves; what cannot be read on from, or follows, is the last record."""
    assert cut(text) == right


def test_any_array_is_cut_into_its_items() -> None:
    """However it is written, and in order."""
    dice = random.Random(5)

    def value(depth: int) -> Any:
        kind = dice.randrange(6 if depth else 4)
        if kind == 4:
            return [value(depth - 1) for _ in range(dice.randrange(3))]
        if kind == 5:
            return {dice.choice('a"é\\]'): value(depth - 1) for _ in range(dice.randrange(3))}
        return [dice.random(), dice.choice(['"', "],", "é\n", "\\"]), None, True][kind]

    for _ in range(200):
        items = [value(3) for _ in range(dice.randrange(1, 6))]
        text = json.dumps(items, indent=dice.choice([None, 0, 3]), ensure_ascii=dice.random() < 0.5)
        assert [json.loads(each) for each in cut(text)] == items


def test_reading_goes_on_where_the_store_is(tmp_path: Path) -> None:
    """A file that has changed is another one."""
    path = write(tmp_path, json.dumps([{"n": number} for number in range(10)], indent=1))
    first = read(path)
    assert [json.loads(each.value or b"")["n"] for each in first] == list(range(10))
    assert [each.offset for each in read(path, {first[3].partition: first[3].next_offset})] == [
        each.offset for each in first[4:]
    ]
    path.write_text(path.read_text(encoding="utf-8").replace("9", "8"), encoding="utf-8")
    assert read(path)[0].partition != first[0].partition


def test_no_more_is_out_than_allowed(tmp_path: Path) -> None:
    """Until it is committed."""
    source = DocumentSource(name="s", path=write(tmp_path, "[\n1,2,3,4,5]"), max_records=2)
    source.start(lambda _: {})
    first = source.receive(0.0)
    assert len(first) == 2
    assert source.receive(0.0) == []
    source.commit({first[0].partition: first[0].next_offset})
    assert [each.value for each in source.receive(0.0)] == [b"3"]


def test_what_is_too_large_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event by its head and a fault, a document by one line with the way out."""
    monkeypatch.setattr(document, "MAX_LINE", 100)
    monkeypatch.setattr(document, "HEAD", 10)
    path = write(tmp_path, '[\n{"a": 1}, {"b": "' + "x" * 200 + '"}]')
    small, large = read(path)
    assert (small.fault, len(large.value or b"")) == (None, 10)
    assert "209 bytes are more than 100" in (large.fault or "")
    monkeypatch.setattr(document, "MAX_DOCUMENT", 50)
    with pytest.raises(FatalError, match="more than 50: write one event a line"):
        is_document(path)
    with pytest.raises(FatalError, match="No such file"):
        DocumentSource(name="s", path=tmp_path / "absent").start(lambda _: {})


def test_cutting_is_linear() -> None:
    """However many items there are, and however many blanks are between them."""
    assert growth(lambda size: list(pieces(b"[\n" + b"1 ,\n" * size + b"1]")), 2_000) < LINEAR
    assert growth(lambda size: list(pieces(b"[\n1" + b" \n" * size)), 20_000) < LINEAR
