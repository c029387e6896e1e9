"""Each shipped mapping reads a whole trace made with that vendor's own models."""

import json
from typing import Any

import pytest

from connectors.decoders.detect import Decoders
from connectors.events import Skipped, SkipReason
from policies.records import Message, TokenUsage, ToolCall, Trace
from tests.servers.vendor_traces import ANSWER, QUESTION, RESULT, SYSTEM

ASKED = (Message(role="system", content=SYSTEM), Message(role="user", content=QUESTION))
CALLED = Message(role="assistant", tool_calls=(ToolCall(name="track", arguments={"n": 7}, id="call_1"),))
TOLD = Message(role="tool", content=RESULT, tool_call_id="call_1", name="track")
LANGSMITH = "00000000-0000-0000-0000-{:012}".format


@pytest.mark.parametrize(
    ("vendor", "ids", "trace_id"),
    [
        ("langfuse", ("first", "second"), "t-1"),
        ("langsmith", (LANGSMITH(2), LANGSMITH(4)), LANGSMITH(1)),
        ("phoenix", ("2", "4"), "t-1"),
    ],
)
def test_a_whole_trace(
    vendor_traces: dict[str, Any],
    vendor: str,
    ids: tuple[str, str],
    trace_id: str,
) -> None:
    """Both calls of the model are traces, the one that failed is skipped, and so are agent and tool."""
    raw = json.dumps(vendor_traces[vendor]).encode()
    outcomes = Decoders().outcomes(raw, source="s", timestamp=5.0)
    assert {each.decoder for each in outcomes} == {vendor}
    root, first, tool, second, failed = (each.result for each in outcomes)
    assert root == tool == Skipped(SkipReason.NO_MODEL_CALL)
    assert failed == Skipped(SkipReason.ERROR)
    assert isinstance(first, Trace)
    assert isinstance(second, Trace)
    assert (first.messages, first.output) == (ASKED, (CALLED,))
    assert second.messages == (*ASKED, CALLED, TOLD)
    assert second.output == (Message(role="assistant", content=ANSWER),)
    assert (first.id, second.id) == ids
    for found in (first, second):
        assert (found.model, found.session, found.subject) == ("agent-7", "s-1", "u-7")
        assert found.usage == TokenUsage(input_tokens=100, output_tokens=9, cache_read_tokens=70)
        assert [each["function"]["name"] for each in found.tools] == ["track"]
        assert found.tags["trace"] == trace_id
        assert {found.truncated, found.unshown, found.incomplete} == {False}
    assert second.ts - first.ts == 2.0


@pytest.mark.parametrize("vendor", ["langfuse", "phoenix"])
def test_one_event_a_line(vendor_traces: dict[str, Any], vendor: str) -> None:
    """As exports to files have them: the same, event by event, with long fields as JSON text."""
    page = vendor_traces[vendor]
    whole = Decoders().decode(json.dumps(page).encode(), source="s", timestamp=5.0)
    lines = [{key: _as_text(key, value) for key, value in each.items()} for each in page["data"]]
    raw = "\n".join(map(json.dumps, lines)).encode()
    assert Decoders().decode(raw, source="s", timestamp=5.0) == whole


def _as_text(key: str, value: Any) -> Any:
    return json.dumps(value) if key in ("input", "output") and isinstance(value, dict) else value
