"""Formats that a mapping file describes, and those that come with rlaifd."""

import json
from pathlib import Path
from typing import Any

import pytest

from connectors.decoders.detect import configured
from connectors.decoders.mapping import shapes, spec
from connectors.decoders.mapping.mapped import Mapped
from connectors.decoders.mapping.paths import parsed
from connectors.decoders.mapping.shipped import specs
from connectors.decoders.mapping.unflattened import at
from connectors.errors import DecodeError, FatalError, UnknownFormatError
from connectors.events import Found, Skipped, SkipReason
from policies.records import Message, TokenUsage, ToolCall, Trace

HOME = """
name: home
when:
  kind: [turn, step]
  v | version: present
each: [calls]
skip: {kind: step}
failed: {"status": 500}
id: meta["turn.id"]
ts: at
ts_unit: ms
messages: [conversation.turns, conversation]
system: conversation.rules
output: reply
tools: $.tools
model: meta.served
requested_model: meta.asked
adapter: meta.adapter
agent_version: meta.release
session: [$.session, meta.session]
subject: who[0]
finish_reason: meta.ended
incomplete: {meta.cut: true}
reference: gold
usage: {input_tokens: "used[0]", output_tokens: "used[-1]", cache_read_tokens: "used[1]", cache_apart: true}
tags: {tenant: meta.tenant}
...
"""
EVENT = {
    "kind": "turn", "v": 2, "status": 200, "at": 1_700_000_000_500, "who": ["u-7"], "gold": "Ulm",
    "conversation": {"rules": "Be brief.", "turns": [{"role": "user", "content": "Where is 7?"}]},
    "reply": "In Ulm.", "used": [30, 70, 9],
    "meta": {"turn.id": "t-1", "served": "agent-7", "asked": "live", "adapter": "a-1", "release": "3",
             "session": "s-1", "ended": "length", "cut": True, "tenant": {"name": "acme"}},
}  # fmt: skip


def home(*changes: tuple[str, str]) -> Mapped:
    text = HOME
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return Mapped(spec.described(text, "home.yaml"))


def read(value: Any, form: Mapped | None = None) -> list[Found]:
    return list((form or home()).decode(value, source="s", timestamp=5.0))


def one(value: Any, form: Mapped | None = None) -> Trace:
    (found,) = read(value, form)
    assert isinstance(found, Trace), str(found)
    return found


def test_every_field_of_a_mapping() -> None:
    """Each from where its path leads."""
    assert one(EVENT) == Trace(
        id="t-1", source="s", ts=1_700_000_000.5,
        messages=(Message(role="system", content="Be brief."), Message(role="user", content="Where is 7?")),
        output=(Message(role="assistant", content="In Ulm."),),
        reference="Ulm", model="agent-7", adapter="a-1", agent_version="3", session="s-1", subject="u-7",
        tags={"requested_model": "live", "tenant": '{"name":"acme"}', "finish_reason": "length"},
        truncated=True, incomplete=True,
        usage=TokenUsage(input_tokens=100, output_tokens=9, cache_read_tokens=70),
    )  # fmt: skip


def test_events_in_a_record() -> None:
    """Each stands for itself; what the record says is common to them."""
    record = {
        "session": "s-9", "tools": [{"name": "track"}],
        "calls": [EVENT, {"kind": "step", "v": 2}, {**EVENT, "status": 500}, {**EVENT, "reply": ""}, 5,
                  {"kind": "other", "v": 1}, {**EVENT, "conversation": None}],
    }  # fmt: skip
    first, step, failed, silent, odd, other, empty = read(record)
    assert isinstance(first, Trace)
    assert (first.session, first.tools[0]["function"]["name"]) == ("s-9", "track")
    assert step == Skipped(SkipReason.NO_MODEL_CALL)
    assert failed == Skipped(SkipReason.ERROR)
    assert silent == Skipped(SkipReason.EMPTY)
    assert "an event must be an object" in str(odd)
    assert isinstance(other, UnknownFormatError)
    assert "not what the mapping home is of: see `when`, `kind`" in str(other)
    assert "nothing is at `conversation.turns`, `conversation`" in str(empty)
    assert isinstance(empty, DecodeError)
    assert json.loads(empty.body or b"") == {**EVENT, "conversation": None}


def test_text_of_json_is_opened() -> None:
    """On the way of a path, and at its end."""
    text = {**EVENT, "conversation": json.dumps(EVENT["conversation"]), "meta": json.dumps(EVENT["meta"])}
    assert one(text) == one(EVENT)


def test_nested_events() -> None:
    """Below others, however deep, in their order."""
    form = home(("each: [calls]", "nested: [inner, more]"), ('meta["turn.id"]', "id"))

    def event(name: str, **more: Any) -> dict[str, Any]:
        return {**EVENT, "id": name, **more}

    tree = event("a", inner=[event("b", inner=[event("c")]), event("d")], more=[event("e")])
    found = read(tree, form)
    assert [each.id for each in found if isinstance(each, Trace)] == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("text", "steps", "of_record"),
    [
        ("a", ("a",), False), ("a.b-c.d_e", ("a", "b-c", "d_e"), False),
        ("a[0][-1].b", ("a", 0, -1, "b"), False),
        ('a["b.c"].d', ("a", "b.c", "d"), False), ("['x y']", ("x y",), False), ("$.a", ("a",), True),
        ("$[0]", (0,), True), ("$", (), True),
    ],
)  # fmt: skip
def test_paths(text: str, steps: tuple[str | int, ...], of_record: bool) -> None:
    """Keys by dots, places by numbers, names with dots in quotes."""
    found = parsed(text)
    assert (found.steps, found.of_record) == (steps, of_record)


@pytest.mark.parametrize("text", ["", ".", "a..b", "a.", ".a", "a[", "a[x]", "a b", "a[0]b", 'a["b', "$a"])
def test_what_is_no_path(text: str) -> None:
    """Is refused with how to write one."""
    with pytest.raises(ValueError, match="is no path: write it like"):
        parsed(text)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name: home", "name: Home", "name: String should match pattern"),
        ("name: home", "nam: home", "name: Field required"),
        ("adapter: meta", "adaptor: meta", "adaptor: Extra inputs are not permitted"),
        ("who[0]", "who[", "subject: Value error, 'who[' is no path"),
        ("ts_unit: ms", "ts_unit: min", "ts_unit: Input should be 's', 'ms', 'us' or 'ns'"),
        ("{kind: step}", "5", "skip: Value error, must be paths"),
        ("{kind: step}", "{kind: {a: 1}}", "kind: must be a value, a list of values, or present"),
        ("output: reply", "output: []", "output: Value error, must be a path, or a list of some"),
        ("...", "- a", "line "),
    ],
)
def test_a_wrong_mapping_is_told_in_one_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    """With its file and key."""
    file = tmp_path / "home.yaml"
    file.write_text(HOME.replace(old, new), encoding="utf-8")
    with pytest.raises(FatalError) as caught:
        configured("auto", file)
    assert str(caught.value).startswith(f"{file}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mapping_of_a_source(tmp_path: Path) -> None:
    """It is asked before all others, or alone; a name of ours is taken."""
    file = tmp_path / "home.yaml"
    file.write_text(HOME, encoding="utf-8")
    told = {"source": "s", "timestamp": 5.0}
    for decoder in ("auto", "home"):
        (found,) = configured(decoder, file).outcomes(json.dumps(EVENT).encode(), **told)  # type: ignore[arg-type]
        assert (found.decoder, type(found.result)) == ("home", Trace)
    (other,) = configured("home", file).outcomes(b'{"messages": [], "output": []}', **told)  # type: ignore[arg-type]
    assert isinstance(other.result, UnknownFormatError)
    file.write_text(HOME.replace("name: home", "name: langfuse"), encoding="utf-8")
    with pytest.raises(FatalError, match="'langfuse' is taken by a decoder of ours"):
        configured("auto", file)
    with pytest.raises(FatalError, match="No such file"):
        configured("auto", tmp_path / "none.yaml")


LC = {"lc": 1, "type": "constructor"}
CALL = ToolCall(name="track", arguments={"n": 7}, id="c")


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        ("Hi", [("user", "Hi")]),
        ({"messages": [{"role": "user", "content": "Hi"}]}, [("user", "Hi")]),
        ({"input": "Hi"}, [("user", "Hi")]),
        ('[{"role": "user", "content": "Hi"}]', [("user", "Hi")]),
        ([[{"type": "system", "content": "S"}, {"type": "human", "content": "Hi"}]],
         [("system", "S"), ("user", "Hi")]),
        ([{**LC, "id": ["x", "HumanMessage"], "kwargs": {"content": "Hi"}}], [("user", "Hi")]),
        ([{"type": "human", "data": {"content": "Hi"}}], [("user", "Hi")]),
        ([{"message": {"role": "user", "contents": [
            {"message_content": {"type": "text", "text": "Hi"}}]}}], [("user", "Hi")]),
        (['{"role": "user", "content": "Hi"}'], [("user", "Hi")]),
        ([{"role": "user", "content": "Q"},
          {"role": "assistant", "content": [
              {"type": "tool_use", "id": "c", "name": "track", "input": {"n": 7}}]},
          {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "Ulm"}]}],
         [("user", "Q"), ("assistant", ""), ("tool", "Ulm")]),
        ([{"role": "user", "content": "Q"},
          {"type": "function_call", "call_id": "c", "name": "track", "arguments": '{"n":7}'},
          {"type": "function_call_output", "call_id": "c", "output": "Ulm"}],
         [("user", "Q"), ("assistant", ""), ("tool", "Ulm")]),
    ],
)  # fmt: skip
def test_shapes_of_conversations(raw: Any, want: list[tuple[str, str]]) -> None:
    """As frameworks keep them."""
    found = one({**EVENT, "conversation": {"turns": raw}})
    assert [(each.role, each.content) for each in found.messages] == want
    assert [call for each in found.messages for call in each.tool_calls] == [CALL] * (len(want) == 3)


@pytest.mark.parametrize(
    ("raw", "text", "calls"),
    [
        ("In Ulm.", "In Ulm.", ()),
        ({"role": "assistant", "content": "In Ulm."}, "In Ulm.", ()),
        ({"content": "In Ulm."}, "In Ulm.", ()),
        ({"output": {"answer": "In Ulm."}}, "In Ulm.", ()),
        ({"choices": [{"message": {"content": "In Ulm."}}]}, "In Ulm.", ()),
        ([{"type": "text", "text": "In Ulm."}, {"type": "text", "text": "Now."}], "In Ulm.\nNow.", ()),
        ({"generations": [[{"text": "In Ulm."}]]}, "In Ulm.", ()),
        ({"generations": [[{"message": {**LC, "id": ["AIMessage"], "kwargs": {
            "content": [{"type": "tool_use", "id": "c", "name": "track", "input": {}}],
            "tool_calls": [{"name": "track", "args": {"n": 7}, "id": "c"}]}}}]]}, "", (CALL,)),
        ({"type": "ai", "content": "In Ulm.", "tool_calls": []}, "In Ulm.", ()),
        ({"role": "assistant", "content": [
            {"type": "text", "text": "In Ulm."},
            {"type": "tool_use", "id": "c", "name": "track", "input": {"n": 7}}]}, "In Ulm.", (CALL,)),
        ({"object": "response", "status": "completed", "output": [
            {"type": "message", "role": "assistant", "content": "In Ulm."}]}, "In Ulm.", ()),
        ('{"role": "assistant", "content": "In Ulm."}', "In Ulm.", ()),
    ],
)  # fmt: skip
def test_shapes_of_answers(raw: Any, text: str, calls: tuple[ToolCall, ...]) -> None:
    """As frameworks keep them."""
    (said,) = one({**EVENT, "reply": raw}).output
    assert (said.content, said.tool_calls) == (text, calls)


def test_an_answer_of_several_steps() -> None:
    """Calls, results and the last words are one output."""
    steps = [
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "track", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "Ulm"},
        {"role": "assistant", "content": "In Ulm."},
    ]
    assert [each.role for each in one({**EVENT, "reply": steps}).output] == ["assistant", "tool", "assistant"]
    assert shapes.tools([{"tool": {"json_schema": '{"name": "x"}'}}]) == [{"name": "x"}]


def test_dotted_keys_are_nested() -> None:
    """In the order of their numbers; keys that contradict each other stay, and so do very long ones."""
    flat = {
        "m.10.a": "k", "m.2.a": "c", "m.0.a": "x", "in": 1, "in.value": 2, "rows": [{"a.b": 3}], "x.": 4,
        "long." * 20 + "a": 5,
    }  # fmt: skip
    assert at({"deep": flat}, parsed("deep")) == {"deep": {
        "m": [{"a": "x"}, {"a": "c"}, {"a": "k"}], "in": 1, "in.value": 2, "rows": [{"a": {"b": 3}}], "x.": 4,
        "long." * 20 + "a": 5,
    }}  # fmt: skip
    assert at({"a.b": 1, "c": 2}, parsed("$")) == {"a": {"b": 1}, "c": 2}
    assert at({"deep": 5}, parsed("deep")) == {"deep": 5}


def test_shipped_mappings_have_distinct_names() -> None:
    """And are read at once."""
    assert [each.name for each in specs()] == ["langfuse", "langsmith", "phoenix"]
