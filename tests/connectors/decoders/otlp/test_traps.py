"""Traps of OpenTelemetry's logs, written after public reports: what a reader expects of each."""

import json
from typing import Any

import pytest

from connectors.errors import DecodeError, UnknownFormatError
from connectors.events import Found, Skipped, SkipReason
from policies.records import Trace
from tests.conftest import ROOT
from tests.connectors.decoders.otlp.requests import decoded, value

FILE = ROOT.parent / "shared" / "data" / "field" / "traps.jsonl"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"no {FILE}: the written cases beside it stay")

ASKED = {"gen_ai.input.messages": '[{"role": "user", "content": "7?"}]'}


def records() -> dict[str, Any]:
    """The records by the first words of what they are about."""
    lines = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    return {
        trap["trap"][:24]: trap["record"] for trap in lines if trap["format"] in ("otel", "openinference")
    }


def found(words: str, **more: Any) -> Found:
    """What the one event of the record is whose trap begins so, with more attributes."""
    (record,) = (record for name, record in records().items() if name.startswith(words))
    attributes = record.get("attributes", record)
    extra = [{"key": key, "value": value(each)} for key, each in more.items()]
    whole = [*attributes, *extra] if isinstance(attributes, list) else attributes | more
    (event,) = decoded(record | {"attributes": whole} if "attributes" in record else whole)
    return event


def test_every_trap_is_known() -> None:
    """None speaks against the decoder."""
    for record in records().values():
        assert not any(isinstance(each, UnknownFormatError) for each in decoded(record))
    assert len(records()) == 9


def test_messages_as_text_or_as_a_value() -> None:
    """Both are the same trace; without what was asked there is none."""
    text = found("messages are", **ASKED)
    assert isinstance(text, Trace)
    said = [
        {"role": "assistant", "parts": [{"type": "text", "content": "In transit."}], "finish_reason": "stop"}
    ]
    (structured,) = decoded({"attributes": [
        {"key": "gen_ai.output.messages", "value": value(said)},
        {"key": "gen_ai.input.messages", "value": value(json.loads(ASKED["gen_ai.input.messages"]))},
    ]})  # fmt: skip
    assert isinstance(structured, Trace)
    assert text.model_copy(update={"id": ""}) == structured.model_copy(update={"id": ""})
    assert "an answer without what the model was asked" in str(found("messages are"))


def test_old_keys_in_the_order_of_their_numbers() -> None:
    """2 comes before 10."""
    trace = found("old indexed")
    assert isinstance(trace, Trace)
    assert [each.content for each in trace.messages] == ["7?", "hm", "and 8?"]
    assert trace.output[0].content == "In transit."


def test_an_event_without_an_answer() -> None:
    """Its lists are empty."""
    assert found("content is on") == Skipped(SkipReason.NO_CONTENT)


def test_numbers_as_text_and_spans_without_calls() -> None:
    """One is no call, the other has no content."""
    (record,) = (each for name, each in records().items() if name.startswith("OTLP JSON"))
    assert decoded(record) == [Skipped(SkipReason.NO_MODEL_CALL), Skipped(SkipReason.NO_CONTENT)]


@pytest.mark.parametrize(
    ("trap", "words"),
    [
        ("attribute cut", "cut by an attribute length limit"),
        ("content lies elsewhere", "the content is not in the log: `gen_ai.input.messages_ref`"),
    ],
)
def test_what_is_not_there_is_told(trap: str, words: str) -> None:
    """In one line, and never a part of an answer."""
    event = found(trap)
    assert isinstance(event, DecodeError)
    assert words in str(event)


@pytest.mark.parametrize("trap", ["the whole message", "text only in"])
def test_openinference_s_shapes(trap: str) -> None:
    """The text is found."""
    asked = {"llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": "7?"}
    event = found(trap, **asked)
    assert isinstance(event, Trace)
    assert [each.content for each in event.output] == ["In transit."]


def test_a_chain_repeats() -> None:
    """Only the model's own span is an answer."""
    assert found("CHAIN and AGENT") == Skipped(SkipReason.NO_MODEL_CALL)
