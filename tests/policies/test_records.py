"""The shared nouns: what is equal hashes alike, and what people and judges read of an answer."""

from typing import Any

import pytest

from policies.policy import PolicySpec
from policies.records import Frozen, Message, Sampled, Tokens, ToolCall, Trace, reasoning_of, text_of
from policies.snapshot import Pair
from policies.training.jobs import AdapterFile, SampleJob, SampleResult, TrainResult

CALL = ToolCall(name="find", arguments={"at": {"shop": [1, {"row": None}]}, "n": 7}, id="c1")
ASKED = (
    Message(role="user", content="Where is 7?"),
    Message(role="assistant", tool_calls=(CALL,)),
    Message(role="tool", content="aisle 3", tool_call_id="c1", name="find"),
)
ANSWER = (Message(role="assistant", content="In aisle 3.", reasoning="Found."),)
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"required": ["n"]}}}

VALUES: list[Frozen] = [
    CALL,
    ASKED[1],
    Sampled(messages=(ASKED[1],), tokens=Tokens(ids=(1, 2), rendering="r")),
    Trace(id="1", source="s", ts=0.0, messages=ASKED, output=ANSWER, tools=(TOOL,), tags={"a": "b"}),
    Pair(preference=1, prompt=ASKED, chosen=ANSWER, rejected=(ASKED[1],), tools=(TOOL,)),
    PolicySpec(name="a", family="f", base_model="b"),
    SampleJob.model_validate({"out": "/j", "base_model": "b", "prompts": (ASKED,), "tools": ((TOOL,),)}),
    SampleResult(state="done", answers=((Sampled(messages=ANSWER),), ()), refused={1: "too long"}),
    TrainResult(state="done", metrics={"loss": 0.5}, files={"a": AdapterFile(sha256="x", size=1)}),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_frozen_value_is_a_key_whatever_json_it_holds(value: Frozen) -> None:
    """A set or dictionary of it works for an agent with tools as it does for plain text."""
    again = type(value).model_validate(value.model_dump())
    assert again == value
    assert hash(again) == hash(value)
    assert {value: "found"}[again] == "found"
    assert list(dict.fromkeys([value, again])) == [value]


def test_other_values_are_other_keys() -> None:
    """Also where they differ deep inside; an equal number of another type is equal."""

    def called(arguments: dict[str, Any]) -> ToolCall:
        return CALL.model_copy(update={"arguments": arguments})

    keys = {called({"a": [1]}), called({"a": [2]}), called({"a": {"1": None}}), called({})}
    assert len(keys) == 4
    assert len({called({"b": 1, "a": 1.0}), called({"a": 1, "b": 1})}) == 1


def test_every_prompt_of_an_agent_with_tools_is_told_apart() -> None:
    """Prompts are counted once each, however often they come."""
    other = (*ASKED[:1], ASKED[1].model_copy(update={"tool_calls": (CALL.model_copy(update={"id": "c2"}),)}))
    assert list(dict.fromkeys([ASKED, other, ASKED])) == [ASKED, other]


def test_what_is_younger_than_a_store_leaves_its_digests() -> None:
    """A trace without a thought that was not cut off has the digest that it always had."""
    plain = Trace(
        id="1",
        source="s",
        ts=1.0,
        messages=(Message(role="user", content="hi"),),
        output=(Message(role="assistant", content="ho"),),
    )
    assert plain.digest == "8cd8716b9000cf660f6f4dd9d628d28984283700c0162c59c088c78677dc0b2e"
    assert plain.model_copy(update={"truncated": True}).digest != plain.digest
    thought = (Message(role="assistant", content="ho", reasoning="hm"),)
    assert plain.model_copy(update={"output": thought}).digest != plain.digest


def test_an_answer_of_several_messages_is_read_whole() -> None:
    """Text, calls and their results, each result with its tool; the thoughts are no part of it."""
    output = (
        Message(role="assistant", content="I look.", reasoning="Which aisle?", tool_calls=(CALL,)),
        Message(role="tool", content="aisle 3", tool_call_id="c1"),
        Message(role="assistant", content="In aisle 3.", reasoning="Good."),
    )
    assert text_of(output) == (
        'I look.\n[find {"at":{"shop":[1,{"row":null}]},"n":7}]\n[result of find: aisle 3]\nIn aisle 3.'
    )
    assert reasoning_of(output) == "Which aisle?\nGood."


def test_a_result_says_whose_it_is_as_far_as_is_known() -> None:
    """With the arguments where calls were made at once; with nothing where nothing is known."""
    calls = tuple(ToolCall(name="find", arguments={"n": n}, id=f"c{n}") for n in (1, 2))
    output = (
        Message(role="assistant", tool_calls=calls),
        Message(role="tool", content="two", tool_call_id="c2"),
        Message(role="tool", content="named", name="track"),
        Message(role="tool", content="lost"),
    )
    assert text_of(output).split("\n")[2:] == [
        '[result of find {"n":2}: two]',
        "[result of track: named]",
        "[result: lost]",
    ]


@pytest.mark.parametrize(
    ("message", "unanswered"),
    [
        (Message(role="assistant", reasoning="hm"), True),
        (Message(role="assistant", reasoning="hm", content="ho"), False),
        (Message(role="assistant", reasoning="hm", tool_calls=(CALL,)), False),
        (Message(role="assistant"), False),
        (Message(role="user", reasoning="hm"), False),
    ],
)
def test_a_thought_alone_is_no_answer(message: Message, unanswered: bool) -> None:
    """Whoever spoke or called has answered, and who neither thought nor spoke has said nothing."""
    assert message.unanswered is unanswered
