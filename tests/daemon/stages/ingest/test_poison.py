"""Everything that strangers can put into a log directory, at once: all good records are stored."""

import json
import os
from pathlib import Path
from typing import Any

from connectors.sources.jsonl import JsonlSource
from daemon.store import stops
from daemon.store.store import Store
from tests.connectors.decoders.events import native, openai
from tests.daemon.stages.ingest.intake import Make, drain, raw, rows

ASKED = openai()["request"]
CHUNK = {"id": "s", "object": "chat.completion.chunk", "choices": [{"delta": {"content": "x"}}]}
POISON: list[Any] = [
    *[{"request": ASKED, "response": CHUNK}] * 60,
    *[CHUNK] * 60,
    *[{"request": ASKED, "response": {"error": {"code": 503}}}] * 60,
    *[native(7, feedback=[{"name": "t", "score": score}]) for score in ("NaN", "inf", "1e400")] * 20,
    native(7, tags={"a": 1}),
    native(7, id="x" * 10_000),
    native(7, output=[{"role": "assistant", "content": ""}]),
    [1] * 100_000,
    [{}] * 100_000,
    {"request": ASKED, "response": {"choices": [{"message": {"content": "x"}}] * 5000}},
    {"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": []}] * 100}]}]},
]
RAW = [
    b'{"messages": NaN}',
    b'{"a": "\\u0000"}',
    b'{"a": "\\ud800"}',
    b"[" * 50_000,
    b"null",
    b'{"a": 1, "a": 2}',
]
MARKS = [{"role": "user", "content": "\u0301\u0323" * 20_000}]


def test_no_poison_keeps_a_good_record_from_being_stored(store: Store, make: Make, tmp_path: Path) -> None:
    """Nothing stops the source, and whatever cannot be stored has its reason."""
    lines = [*map(raw, POISON), *RAW * 60]
    for at, number in enumerate(range(0, len(lines), 25)):
        lines.insert(number, raw(native(1000 + at)))
    good = sum(b'"e-1' in line for line in lines) + 1
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([*lines, raw(native(1, messages=MARKS))]) + b"\n")
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    (tmp_path / "kernel.jsonl").symlink_to("/proc/kmsg")
    (tmp_path / "nothing.jsonl").touch()
    os.mkfifo(tmp_path / "pipe.jsonl")
    stage = make(source=JsonlSource(name="memory", path=tmp_path))
    drain(stage)
    assert rows(store, "trace") == good
    assert store.read(stops.standing) == []
    assert stage.totals.events == stage.totals.stored + stage.totals.dead_letters + stage.totals.skipped
    assert rows(store, "dead_letter") == stage.totals.dead_letters
    assert json.loads(lines[0])["id"] == "e-1000"
