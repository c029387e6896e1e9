"""A file of events is ingested whole and once, or explained line by line."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from connectors.decoders.detect import Decoders
from connectors.errors import FatalError
from daemon.clock import FakeClock
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.files import explain, ingest_file
from daemon.store.store import Store
from daemon.store.traces import Counts
from policies.policy import Splits
from tests.connectors.decoders.events import native, openai
from tests.connectors.decoders.otlp.requests import CHAT, proto, span, traces
from tests.daemon.stages.ingest.intake import raw, rows


def test_a_file_is_ingested_once(store: Store, clock: FakeClock, metrics: Metrics, tmp_path: Path) -> None:
    """A whole file goes in, its last line without a newline too; a second time adds nothing."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join([raw(native(1)), b"", b"{bad", raw(openai(2))]))
    given: dict[str, Any] = {
        "decoders": Decoders(), "store": store, "metrics": metrics, "clock": clock, "splits": Splits(),
    }  # fmt: skip
    assert ingest_file(file, **given) == Counts(records=3, stored=2, dead_letters=1)
    assert ingest_file(file, **given) == Counts()
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(file.read_bytes())
    assert ingest_file(copy, **given) == Counts(records=3, duplicates=2, dead_letters=1)
    assert rows(store, "trace") == 2
    with pytest.raises(FatalError, match="no such file"):
        ingest_file(tmp_path / "absent", **given)


def test_explain_tells_what_a_file_holds(tmp_path: Path) -> None:
    """Each event with its line, decoder and trace, or the reason; nothing is stored."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(raw([native(1), 5]) + b"\n{bad\n" + raw(openai(2)) + b"\n")
    found = list(explain(file, Decoders()))
    assert [(each.line, each.index, each.decoder) for each in found] == [
        (1, 0, "native"), (1, 1, None), (2, 0, None), (3, 0, "openai_chat"),
    ]  # fmt: skip
    assert found[0].trace is not None
    assert found[0].trace.id == "e-1"
    assert found[1].reason == "an event must be an object, not int"
    assert "not JSON" in (found[2].reason or "")


def test_explain_counts_lines_as_an_editor_does(tmp_path: Path) -> None:
    """Blank lines are no records, and lines all the same."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n\n" + raw(native(1)) + b"\n \n\r\n{bad\n")
    assert [each.line for each in explain(file, Decoders())] == [3, 6]


def test_a_compressed_file_is_refused_whole(tmp_path: Path, store: Store) -> None:
    """Its lines would all be dead letters; nothing is stored."""
    file = tmp_path / "events.jsonl.gz"
    file.write_bytes(gzip.compress(raw(native(1)) + b"\n"))
    with pytest.raises(FatalError, match="compressed"):
        list(explain(file, Decoders()))
    with pytest.raises(FatalError, match="compressed"):
        ingest_file(
            file, decoders=Decoders(), store=store, metrics=Metrics(), clock=FakeClock(), splits=Splits()
        )
    assert store.read(lambda c: c.scalar(text("SELECT count(*) FROM dead_letter"))) == 0


@pytest.mark.parametrize("form", ["array", "object", "an item a line"])
def test_a_document_over_many_lines_is_read_as_that(
    tmp_path: Path, store: Store, clock: FakeClock, metrics: Metrics, form: str
) -> None:
    """Each of its events is a record, told with the line at which it begins; a second time adds nothing."""
    events = [native(1), native(2)] if form != "object" else [native(1)]
    written = json.dumps(events if len(events) > 1 else events[0], indent=1)
    if form == "an item a line":
        written = "[" + ",\n".join(map(json.dumps, events)) + "]\n"
    file = tmp_path / "events.json"
    file.write_text("\ufeff\n" + written, encoding="utf-8")
    found = list(explain(file, Decoders()))
    assert [each.trace.id for each in found if each.trace] == [f"e-{at}" for at in range(1, len(events) + 1)]
    shown = (tmp_path / "events.json").read_text(encoding="utf-8").splitlines()
    assert all("{" in shown[each.line - 1] for each in found)
    given: dict[str, Any] = {
        "decoders": Decoders(), "store": store, "metrics": metrics, "clock": clock, "splits": Splits(),
    }  # fmt: skip
    assert ingest_file(file, **given) == Counts(records=len(events), stored=len(events))
    assert ingest_file(file, **given) == Counts()


def test_a_document_that_breaks_off_gives_what_is_whole(tmp_path: Path) -> None:
    """The rest is one dead letter with its place, not one for each line."""
    file = tmp_path / "events.json"
    file.write_text(json.dumps([native(1), native(2)], indent=1)[:-40], encoding="utf-8")
    first, second = explain(file, Decoders())
    assert first.trace is not None
    assert "not JSON" in (second.reason or "")
    assert file.read_text(encoding="utf-8").splitlines()[second.line - 1].strip() == "{"


def test_a_broken_first_line_makes_no_document(tmp_path: Path) -> None:
    """The lines after it are records of their own."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(b'{"messages": [\n' + raw(native(1)) + b"\n")
    assert [each.trace is not None for each in explain(file, Decoders())] == [False, True]


def test_what_is_skipped_is_told_and_is_no_fault(tmp_path: Path) -> None:
    """Beside what cannot be decoded."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(raw({"error": {"message": "overloaded"}}) + b"\n" + raw({"a": 1}) + b"\n")
    assert [(each.skipped, each.decoder) for each in explain(file, Decoders())] == [
        (True, "openai_chat"),
        (False, None),
    ]


def test_a_file_that_is_one_request_in_protobuf(
    tmp_path: Path, store: Store, metrics: Metrics, clock: FakeClock
) -> None:
    """Its bytes are no lines, whatever is among them; its spans are joined at its end."""
    file = tmp_path / "spans.bin"
    said = json.loads(json.dumps(CHAT).replace("In Ulm.", "In\\n\\nUlm."))
    file.write_bytes(proto(traces(span("root"), span("call", "root", attributes=said))))
    assert [each.decoder for each in explain(file, Decoders())] == ["otlp", "otlp"]
    given: Any = {
        "decoders": Decoders(), "store": store, "metrics": metrics, "clock": clock, "splits": Splits(),
    }  # fmt: skip
    counts = ingest_file(file, **given)
    assert (counts.records, counts.spans, rows(store, "trace")) == (1, 2, 1)
    blank = tmp_path / "blank.jsonl"
    blank.write_bytes(b"\n" + json.dumps(native(1)).encode() + b"\n")
    assert [each.trace is not None for each in explain(blank, Decoders())] == [True]
