"""Tools as logs hold them, and as every later room expects them."""

from typing import Any

import pytest

from connectors.decoders.tools import definitions, tied
from policies.records import Message, ToolCall
from tests.connectors.decoders.events import native, openai
from tests.connectors.decoders.test_decoders import reason, trace

FUNCTION = {"name": "find", "description": "Finds.", "parameters": {"type": "object", "properties": {}}}
WRAPPED = {"type": "function", "function": FUNCTION}
FLAT_SCHEMA = {"name": "find", "description": "Finds.", "input_schema": FUNCTION["parameters"]}


@pytest.mark.parametrize(
    "tool",
    [
        WRAPPED,
        {"function": FUNCTION},
        {"type": None, "function": FUNCTION},
        {"type": "function", **FUNCTION},
        FUNCTION,
        FLAT_SCHEMA,
        {**FLAT_SCHEMA, "type": "custom"},
    ],
)
def test_definitions_have_one_shape(tool: dict[str, Any]) -> None:
    """Wrapped, flat, older `functions` and Anthropic's key all become OpenAI's wrapped shape."""
    assert definitions([tool]) == (WRAPPED,)
    assert definitions(definitions([tool])) == (WRAPPED,)
    assert trace(native(tools=[tool])).tools == (WRAPPED,)
    event = openai()
    event["request"]["tools"] = [tool]
    assert trace(event).tools == (WRAPPED,)
    del event["request"]["tools"]
    event["request"]["functions"] = [tool]
    assert trace(event).tools == (WRAPPED,)


def test_a_tool_of_the_providers_stays_as_it_is() -> None:
    """It is no function, and nothing is made up about it."""
    hosted = {"type": "web_search", "user_location": {"country": "DE"}}
    assert definitions([hosted]) == (hosted,)


@pytest.mark.parametrize("tools", [7, "find", [7]])
def test_what_is_no_list_of_tools_is_refused(tools: Any) -> None:
    """With the place."""
    assert reason(native(tools=tools)) == "tools: must be a list of objects"


def call(name: str, number: int, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": f'{{"n": {number}}}'}, **fields}


def result(content: str, **fields: Any) -> dict[str, Any]:
    return {"role": "tool", "content": content, **fields}


def ties(*messages: dict[str, Any]) -> list[tuple[list[str | None], str | None, str | None]]:
    """Of each message after the question: its calls' ids, its own, and its name."""
    found = trace(native(messages=[{"role": "user", "content": "?"}, *messages])).messages[1:]
    return [([each.id for each in one.tool_calls], one.tool_call_id, one.name) for one in found]


def calls(*made: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(made)}


def test_ids_that_are_there_stay() -> None:
    """Results in another order than their calls keep theirs and get the tool's name."""
    assert ties(
        calls(call("find", 1, id="a"), call("track", 2, id="b")),
        result("two", tool_call_id="b"),
        result("one", tool_call_id="a", name="finder"),
    ) == [(["a", "b"], None, None), ([], "b", "track"), ([], "a", "finder")]


def test_missing_ids_are_made_up_and_tied_in_order() -> None:
    """Parallel calls and their results without ids, twice: no id is taken by two calls."""
    once = (calls(call("find", 1), call("find", 2)), result("one"), result("two"))
    assert ties(*once, *once) == [
        (["call_0", "call_1"], None, None),
        ([], "call_0", "find"),
        ([], "call_1", "find"),
        (["call_2", "call_3"], None, None),
        ([], "call_2", "find"),
        ([], "call_3", "find"),
    ]


def test_a_result_without_an_id_goes_to_its_tool() -> None:
    """Its name says whose it is; without one, or with one that was not called, the oldest open call's."""
    assert ties(
        calls(call("find", 1, id="call_0"), call("track", 2), call("track", 3, id=9), call("stop", 4, id="")),
        result("two", name="track"),
        result("three", tool_call_id=9),
        result("one", name="functions.find"),
        result("four"),
        result("of nothing"),
    ) == [
        (["call_0", "call_1", "9", "call_2"], None, None),
        ([], "call_1", "track"),
        ([], "9", "track"),
        ([], "call_0", "functions.find"),
        ([], "call_2", "stop"),
        ([], None, None),
    ]


def test_the_older_function_shape_is_tied_too() -> None:
    """`function_call` and the role `function` have no ids at all."""
    older = {"role": "assistant", "content": None, "function_call": {"name": "find", "arguments": "{}"}}
    answered = {"role": "function", "name": "find", "content": "x"}
    assert ties(older, answered) == [(["call_0"], None, None), ([], "call_0", "find")]


def test_the_output_goes_on_where_the_prompt_ends() -> None:
    """A result that opens the output answers the prompt's call, and ids are unique over both."""
    found = trace(
        native(
            messages=[{"role": "user", "content": "?"}, calls(call("find", 1))],
            output=[
                result("one"),
                calls(call("track", 2)),
                result("two"),
                {"role": "assistant", "content": "ok"},
            ],
        )
    )
    assert found.messages[1].tool_calls[0].id == "call_0"
    assert [(one.tool_call_id, one.name) for one in found.output if one.role == "tool"] == [
        ("call_0", "find"),
        ("call_1", "track"),
    ]
    assert found.output[-1].content == "ok"


def test_tying_twice_changes_nothing() -> None:
    """So what is stored may be tied again before it is sent."""
    messages = (
        Message(role="assistant", tool_calls=(ToolCall(name="find"), ToolCall(name="find"))),
        Message(role="tool", content="one"),
        Message(role="tool", content="of nobody", tool_call_id="lost"),
    )
    once, _ = tied(messages)
    assert tied(once) == (once, ())
    assert [one.tool_call_id for one in once] == [None, "call_0", "lost"]


@pytest.mark.parametrize(
    ("finish", "cut"),
    [("length", True), ("max_tokens", True), ("MAX_TOKENS", True), ("incomplete", True),
     ("model_length", True),
     ("stop", False), ("tool_calls", False), (None, False), ([], False), ({"a": 1}, False)],
)  # fmt: skip
def test_an_answer_that_ended_at_its_limit_is_truncated(finish: Any, cut: bool) -> None:
    """As servers spell it; an odd value costs nothing."""
    made = {"finish_reason": finish, "message": {"role": "assistant", "content": "I would"}}
    found = trace(openai(choices=[made]))
    assert found.truncated is cut


def test_an_incomplete_response_is_truncated() -> None:
    """Some servers say it of the response and not of the choice."""
    assert trace(openai(status="incomplete")).truncated
    assert not trace(openai(status="completed")).truncated


def test_native_says_it_itself() -> None:
    """`truncated` is a key of rlaifd's own JSON; without it, or null, the answer is whole."""
    assert trace(native(truncated=True)).truncated
    assert not trace(native(truncated=None)).truncated
    assert "truncated" in reason(native(truncated="perhaps"))


def test_a_choice_without_a_role_is_the_assistants() -> None:
    """Nothing else can stand there."""
    assert trace(openai(choices=[{"message": {"content": "hi"}}])).output[0].role == "assistant"
