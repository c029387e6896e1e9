"""Conversations are spelled as templates take them, and nothing is lost on the way."""

import json

import pytest

from policies.records import Message, ToolCall
from policies.training.model.spelling import SPELLINGS, Spelling

CALLS = (
    Message(role="user", content="two things"),
    Message(
        role="assistant",
        content="looking",
        reasoning="both",
        tool_calls=(
            ToolCall(name="find", arguments={"id": "7"}, id="call_a_long_one"),
            ToolCall(name="find", arguments={"id": "8", "qty": 2}, id="call_b_long_one"),
        ),
    ),
    Message(role="tool", content="eight", tool_call_id="call_b_long_one"),
    Message(role="tool", content="seven", tool_call_id="call_a_long_one"),
    Message(role="assistant", content="done"),
)


def test_the_first_spelling_changes_nothing() -> None:
    """Thirty-two of them, and the plain one is tried before all others."""
    assert SPELLINGS[0] == Spelling()
    assert len(set(SPELLINGS)) == 32
    turns = Spelling().turns(CALLS)
    assert turns[1]["tool_calls"][1]["function"] == {"name": "find", "arguments": {"id": "8", "qty": 2}}
    assert turns[1]["reasoning_content"] == turns[1]["thinking"] == "both"
    assert "reasoning_content" not in turns[0]


def test_arguments_can_be_text() -> None:
    """JSON text that reads back as the object; other letters stay as they are."""
    call = ToolCall(name="find", arguments={"name": "Zoë", "empty": ""})
    (turn,) = Spelling(text_arguments=True).turns((Message(role="assistant", tool_calls=(call,)),))
    text = turn["tool_calls"][0]["function"]["arguments"]
    assert json.loads(text) == call.arguments
    assert "Zoë" in text


def test_parallel_calls_can_be_made_in_turn() -> None:
    """Each call is followed by its own result, whatever order they came in; text and thought stay first."""
    turns = Spelling(single_calls=True).turns(CALLS)
    assert [turn["role"] for turn in turns] == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert [turn["content"] for turn in turns] == ["two things", "looking", "seven", "", "eight", "done"]
    assert "reasoning_content" not in turns[3]


def test_results_without_an_id_go_to_the_calls_in_order() -> None:
    """And a result that belongs to no call is kept."""
    loose = tuple(message.model_copy(update={"tool_call_id": None}) for message in CALLS)
    more = (*loose[:4], Message(role="tool", content="nobody's"), loose[4])
    contents = [turn["content"] for turn in Spelling(single_calls=True).turns(more)]
    assert contents == ["two things", "looking", "eight", "", "seven", "nobody's", "done"]


def test_short_ids_are_nine_letters_and_digits_and_pair_up() -> None:
    """The same id gives the same short one; a good one is kept; missing ones are numbered in order."""
    turns = Spelling(short_ids=True).turns(CALLS)
    ids = [call["id"] for call in turns[1]["tool_calls"]]
    assert [turns[3]["tool_call_id"], turns[2]["tool_call_id"]] == ids
    assert all(len(each) == 9 and each.isalnum() for each in ids)
    good = CALLS[1].model_copy(update={"tool_calls": (ToolCall(name="find", id="abc123XYZ"),)})
    bare = Message(role="tool", content="x")
    turns = Spelling(short_ids=True).turns((good, bare))
    assert turns[0]["tool_calls"][0]["id"] == turns[1]["tool_call_id"] == "abc123XYZ"


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_loses_a_call_or_a_result(spelling: Spelling) -> None:
    """Whatever is changed, every argument and every result is still there."""
    text = json.dumps(spelling.turns(CALLS))
    assert all(each in text for each in ("seven", "eight", "qty", "two things", "looking", "done"))
