"""Log files written after public reports: what each line of them is. They are not part of the repository."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from connectors.decoders.detect import Decoders
from connectors.errors import DecodeError, UnknownFormatError
from connectors.events import Found, Skipped, SkipReason
from daemon.stages.ingest.files import explain
from policies.records import Trace
from tests.conftest import ROOT

FIELD = ROOT.parent / "shared" / "data" / "field"
pytestmark = pytest.mark.skipif(not FIELD.is_dir(), reason=f"no {FIELD}: the written cases beside it stay")


def events(name: str) -> list[Found]:
    """Every event of a file, in order."""
    lines = (FIELD / "logs" / name).read_bytes().splitlines()
    return [each for line in lines for each in Decoders().decode(line, source="s", timestamp=5.0)]


def traces(name: str) -> list[Trace]:
    """The events of a file, of which each is a trace."""
    found = events(name)
    assert all(isinstance(each, Trace) for each in found), [str(each) for each in found]
    return [each for each in found if isinstance(each, Trace)]


def said(name: str) -> list[str]:
    return [trace.output[0].content for trace in traces(name)]


def test_an_outage_is_skipped() -> None:
    """Sixty errors in a row: none is a trace, a dead letter, or a word against the decoder."""
    found = events("01-outage-60-errors.jsonl")
    skipped = [each.reason for each in found if isinstance(each, Skipped)]
    assert set(skipped) == {SkipReason.ERROR}
    assert len(skipped) >= 57
    assert len(skipped) + sum(isinstance(each, Trace) for each in found) == len(found)


def test_errors_among_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six in a hundred are skipped, the others are traces."""
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(FIELD / "logs" / "02-make-6-percent-errors.py"))
    lines = (tmp_path / "errors-6pct.jsonl").read_bytes().splitlines()
    found = [each for line in lines for each in Decoders().decode(line, source="s", timestamp=5.0)]
    kinds = [type(each) for each in found]
    assert (kinds.count(Trace), kinds.count(Skipped), len(kinds)) == (1407, 93, 1500)


def test_empty_answers() -> None:
    """Only the one that was spoken is an answer."""
    found = events("04-empty-answers.jsonl")
    assert [each.reason if isinstance(each, Skipped) else "trace" for each in found] == [
        SkipReason.THOUGHT, SkipReason.WITHHELD, "trace", SkipReason.EMPTY, SkipReason.THOUGHT,
        SkipReason.WITHHELD,
    ]  # fmt: skip
    (spoken,) = (each for each in found if isinstance(each, Trace))
    assert (spoken.output[0].content, spoken.unshown) == ("Your parcel is in transit.", False)


def test_placeholders() -> None:
    """Thoughts leave the answer, nested text is text, and no placeholder is among these answers."""
    found = traces("05-placeholders-in-answer.jsonl")
    assert said("05-placeholders-in-answer.jsonl") == [
        "In transit.",
        "In transit.",
        "A parcel.",
        "In transit.",
    ]
    assert [trace.unshown for trace in found] == [False] * 4


def test_ornaments() -> None:
    """Tags, users and tools in odd shapes cost no record."""
    found = traces("06-metadata-and-user.jsonl")
    assert [trace.subject for trace in found] == [None, None, None, "4711", "s-9", None, None, None]
    assert found[0].tags["ticket"] == "4711"
    assert found[1].tags["user"] == '{"tier":"gold"}'
    assert found[2].tags == {"beta": "true", "finish_reason": "stop"}


def test_streams() -> None:
    """The two whole ones are the answer; single pieces are refused with what to log instead."""
    found = events("08-streams.jsonl")
    for each in found[:2]:
        assert isinstance(each, Trace)
        assert (each.id, each.output[0].content) == ("chatcmpl-s", "In transit.")
    for each, words in zip(found[2:], ("one chunk", "one chunk", "a stream's `delta`"), strict=True):
        assert isinstance(each, DecodeError)
        assert not isinstance(each, UnknownFormatError)
        assert words in str(each)
        assert "log the assembled completion" in str(each)


def test_choices() -> None:
    """Each by itself and by its own index."""
    found = events("09-choices.jsonl")
    assert [each.id if isinstance(each, Trace) else str(each) for each in found] == [
        "n1", "no answer: it was withheld by a filter", "n2#1", "n2", "n3", "n4",
    ]  # fmt: skip


def test_one_array_over_many_lines() -> None:
    """Each of its items is an event."""
    path = FIELD / "logs" / "12-pretty-array.json"
    found = list(explain(path, Decoders()))
    assert len(found) == len(json.loads(path.read_text(encoding="utf-8")))
    assert all(each.trace is not None for each in found)


def test_a_schema_header() -> None:
    """Is named."""
    raw = (FIELD / "logs" / "13-confluent-framed.bin").read_bytes()
    (found,) = Decoders().decode(raw, source="s", timestamp=5.0)
    assert "starts with Confluent's schema header (5 bytes)" in str(found)


def test_shapes_of_real_servers() -> None:
    """Thirteen are pairs, and one has its request's keys beside the response; two are other formats, and are
    told so.
    """
    found = events("15-real-shapes.jsonl")
    kinds = [isinstance(each, Trace) for each in found]
    assert kinds == [True] * 13 + [False, True, False]
    assert all(isinstance(each, UnknownFormatError) for each in (found[13], found[15]))


def traps() -> list[dict[str, Any]]:
    path = FIELD / "traps.jsonl"
    if not path.exists():
        return []
    every = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [trap for trap in every if trap["format"] not in ("otel", "openinference")]


CUT = "that broke off before its end: its `{}` never came"
READINGS = {
    "raw SSE text that begins": [f"`response` is of a raw stream (SSE text) {CUT.format('stop_reason')}"],
    "redacted, sometimes on one side": [
        "`request.messages[0]` is redacted ('redacted-by-litellm'): its content is not in the log"
    ],
    "placeholder instead of the prompt": [
        "`messages[0]` is redacted ('default-message-value'): its content is not in the log"
    ],
    "previous_response_id": ["and parcel 8? | At the depot. (incomplete)"],
    "completed without an answer": ["no answer: neither text, call nor refusal"],
    "function_call and its output": ["7? | {'n': 7} | in transit | In transit."],
    "first chunk without choices": [
        f"`response.choices[{at}]` is of a list of stream chunks {CUT.format('finish_reason')}"
        for at in range(2)
    ],
}
"""By how a trap's line begins: what comes of it."""


@pytest.mark.parametrize("trap", traps(), ids=lambda trap: trap["trap"][:40])
def test_traps(trap: dict[str, Any]) -> None:
    """Each is read as its line wants it, or refused by the name of what is wrong with it."""
    found = Decoders().decode(json.dumps(trap["record"]).encode(), source="s", timestamp=5.0)
    name = next(name for name in READINGS if trap["trap"].startswith(name))
    assert [_told(each) for each in found] == READINGS[name]
    assert not any(isinstance(each, UnknownFormatError) for each in found)


def _told(found: Found) -> str:
    """The prompt and the answer of a trace, a word to a turn; else why it is none."""
    if not isinstance(found, Trace):
        return str(found)
    called = [call for message in found.messages for call in message.tool_calls]
    results = [message.tool_call_id for message in found.messages if message.role == "tool"]
    assert results == [call.id for call in called]
    text = " | ".join(
        message.content or str(message.tool_calls[0].arguments) for message in found.messages + found.output
    )
    return text + " (incomplete)" * found.incomplete
