"""A trace written as JSON once: what it gives is what the definitions give."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from pydantic_core import to_json

from policies.encoded import ALIKE, encoded, in_full
from policies.records import Feedback, Message, TokenUsage, ToolCall, Trace, canonical

TEXT = some.text(some.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = some.integers() | some.floats(allow_nan=False, allow_infinity=False)
JSON = some.recursive(
    some.none() | some.booleans() | NUMBERS | TEXT,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
OBJECTS = some.dictionaries(TEXT, JSON, max_size=4)
CALLS = some.builds(ToolCall, name=TEXT, arguments=OBJECTS, id=some.none() | TEXT)
MESSAGES = some.builds(
    Message, role=some.sampled_from(["system", "user", "assistant", "tool"]), content=TEXT, reasoning=TEXT,
    tool_calls=some.lists(CALLS, max_size=2), tool_call_id=some.none() | TEXT, name=some.none() | TEXT,
)  # fmt: skip
TURNS = some.lists(MESSAGES, min_size=1, max_size=3)
FINITE = some.floats(allow_nan=False, allow_infinity=False)
SAID = some.builds(Feedback, name=TEXT, score=some.none() | FINITE, label=some.none() | TEXT)
TRACES = some.builds(
    Trace, id=TEXT.filter(bool), source=TEXT, ts=FINITE, messages=TURNS, output=TURNS,
    subject=some.none() | TEXT, reference=some.none() | TEXT,
    agent_version=some.none() | TEXT, tools=some.lists(OBJECTS, max_size=2),
    feedback=some.lists(SAID, max_size=2), tags=some.dictionaries(TEXT, TEXT, max_size=3),
    truncated=some.booleans(), unshown=some.booleans(),
    incomplete=some.booleans(),
)  # fmt: skip


@settings(max_examples=150, deadline=None, derandomize=True)
@given(trace=TRACES)
def test_the_quick_way_writes_what_the_definition_says(trace: Trace) -> None:
    """The same content to the byte; payload and output of the same value, in the same order."""
    quick, slow = encoded(trace), in_full(trace)
    assert quick.content == slow.content == canonical(json.loads(quick.content))
    dumped = trace.model_dump(mode="json")
    assert json.loads(quick.payload) == json.loads(slow.payload) == dumped
    assert json.loads(quick.output) == dumped["output"]
    calls = [list(call["arguments"]) for turn in dumped["messages"] for call in turn["tool_calls"]]
    stored = json.loads(quick.payload)["messages"]
    assert [list(call["arguments"]) for turn in stored for call in turn["tool_calls"]] == calls


def test_no_field_is_left_out() -> None:
    """Each field of a trace, a message and a call is in what is written, one that is added too."""
    call = ToolCall(name="n", arguments={"a": 1}, id="i")
    turn = Message(
        role="assistant", content="c", reasoning="r", tool_calls=(call,), tool_call_id="t", name="x"
    )
    trace = Trace(
        id="1", source="s", ts=1.0, messages=(turn,), output=(turn,), agent_version="v", truncated=True,
        unshown=True, incomplete=True, usage=TokenUsage(input_tokens=1, output_tokens=1),
    )  # fmt: skip
    content, payload = (json.loads(text) for text in encoded(trace)[:2])
    assert payload.keys() == Trace.model_fields.keys()
    assert content.keys() == Trace.model_fields.keys() - {"source", "ts", "usage"}
    for whole in (content, payload):
        assert whole["messages"][0].keys() == Message.model_fields.keys()
        assert whole["messages"][0]["tool_calls"][0].keys() == ToolCall.model_fields.keys()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(number=some.floats(*ALIKE, exclude_max=True) | some.sampled_from([0.0, -0.0, ALIKE[0], 1e15, 0.1]))
def test_both_encoders_write_a_number_of_middling_size_alike(number: float) -> None:
    """Beyond it one writes 1e-05 and the other 1e-5: there the slower one writes."""
    assert to_json([number, -number]) == canonical([number, -number])


@pytest.mark.parametrize("odd", ["\ud800", {"\udfff": 1}, [{"a": "\udfff"}]], ids=ascii)
def test_what_has_no_json_is_refused(odd: Any) -> None:
    """As it is by the definition."""
    turn = Message(role="assistant", tool_calls=(ToolCall(name="n", arguments={"a": odd}),))
    trace = Trace(id="1", source="s", ts=1.0, messages=(turn,), output=(turn,))
    with pytest.raises(ValueError, match=r".+"):
        encoded(trace)


def test_a_copy_has_its_own_digest_and_cluster() -> None:
    """What was worked out of the original is not kept by a copy with other content."""
    trace = Trace(
        id="1", source="s", ts=1.0, messages=(Message(role="user", content="a"),),
        output=(Message(role="assistant", content="b"),),
    )  # fmt: skip
    before = (trace.digest, trace.cluster, trace.encoded)
    other = trace.model_copy(update={"messages": (Message(role="user", content="c"),)})
    fresh = Trace.model_validate(other.model_dump())
    assert (other.digest, other.cluster, other.encoded) == (fresh.digest, fresh.cluster, fresh.encoded)
    assert (trace.digest, trace.cluster, trace.encoded) == before
    assert other.digest != trace.digest
    assert fresh == other
    assert hash(fresh) == hash(other)
