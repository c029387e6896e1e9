"""Traces from spans: what stands around a call, a span in parts, and the last step of a loop of tools."""

import random
from typing import Any

import pytest

from policies.joining import joined
from policies.records import Message, ToolCall
from policies.spans import Piece, Span
from tests.growth import LINEAR, growth

ASKED = Message(role="user", content="Where?")
CALL: dict[str, Any] = {
    "messages": (ASKED,),
    "output": (Message(role="assistant", content="In Ulm."),),
}


def span(name: str, parent: str | None = None, **more: Any) -> Span:
    given = {"trace_id": "t", "source": "s", "ts": 1.0, **more}
    return Span(span_id=name, parent_id=parent, **given)


def test_a_call_has_what_stands_around_it() -> None:
    """From the nearest span that it is within, else from the first of its trace; its own goes before."""
    spans = [
        span("root", session="far", subject="u-1"),
        span("agent", "root", session="near", agent_version="v2"),
        span("call", "agent", **CALL),
        span("own", "agent", session="own", **CALL),
        span("lost", "nobody", **CALL),
        span("first", "elsewhere", ts=0.5, adapter="a-1"),
    ]
    found = {trace.id: trace for trace in joined(spans).traces}
    assert list(found) == ["t:call", "t:lost", "t:own"]
    told = {name: (trace.session, trace.subject, trace.adapter) for name, trace in found.items()}
    assert told["t:call"] == ("near", "u-1", "a-1")
    assert told["t:own"] == ("own", "u-1", "a-1")
    assert told["t:lost"] == ("near", "u-1", "a-1")
    assert found["t:call"].agent_version == "v2"


def test_only_calls_become_traces() -> None:
    """In order of time, by the response's id where there is one; joining again gives the same."""
    spans = [
        span("b", "root", ts=3.0, ended_at=4.0, **CALL),
        span("a", "root", ts=2.0, event_id="r-1", **CALL),
        span("tool", "root"),
    ]
    found = joined(spans)
    assert [(trace.id, trace.ts) for trace in found.traces] == [("r-1", 2.0), ("t:b", 4.0)]
    assert joined(spans[::-1]) == found


def test_parents_in_a_circle_end() -> None:
    """Anybody can write such a log."""
    spans = [span("a", "b", **CALL), span("b", "a", session="x"), span("c", "c", **CALL)]
    assert [trace.session for trace in joined(spans).traces] == ["x", "x"]


def test_a_response_that_two_spans_tell_is_one_answer() -> None:
    """That of the earlier one; one without content is none that lacks it."""
    spans = [
        span("outer", ts=1.0, event_id="r-1", called=True, **CALL),
        span("inner", "outer", ts=1.5, event_id="r-1", called=True),
        span("other", "outer", ts=1.6, event_id="r-1", called=True, **CALL),
        span("lost", "outer", ts=1.7, called=True),
    ]
    found = joined(spans)
    assert ([trace.id for trace in found.traces], found.steps, found.blank) == (["r-1"], 0, 1)


def test_a_span_in_parts() -> None:
    """What was logged of it has the conversation, itself the rest; of two the whole one counts."""
    itself = span("call", "root", ts=2.0, ended_at=3.0, event_id="r-1", model="m-1", called=True)
    cut = {**CALL, "incomplete": True}
    details = span("call", part="details", ts=9.0, **CALL)
    for parts in ([itself, details], [details, itself], [itself.model_copy(update=cut), details]):
        found = joined([*parts, span("root", session="s-1")])
        (trace,) = found.traces
        assert (trace.id, trace.model, trace.ts, trace.session) == ("r-1", "m-1", 3.0, "s-1")
        assert not trace.incomplete
    assert joined([itself, details]).events == {"call": "r-1"}
    assert joined([itself.model_copy(update=CALL)]).events == {}
    (trace,) = joined([itself.model_copy(update=cut)]).traces
    assert trace.incomplete


def test_pieces_are_put_in_their_places() -> None:
    """Whatever part they came in; each of them once."""
    pieces = [
        Piece(at_ns=at, number=number, key=f"k{at}{number}", message=message, choice=choice)
        for at, number, message, choice in (
            (1, 0, Message(role="system", content="Be brief."), None),
            (1, 1, Message(role="user", content="Where?"), None),
            (5, 0, Message(role="assistant", content="In Ulm."), 0),
            (5, 1, Message(role="assistant", content="Ulm!"), 1),
        )
    ]
    parts = [
        span("call", part="p1", pieces=(pieces[3], pieces[1])),
        span("call", part="p2", pieces=(pieces[0], pieces[1], pieces[2])),
        span("call", called=True, truncated=False),
    ]
    found = joined(parts).traces
    assert [[each.content for each in (*trace.messages, *trace.output)] for trace in found] == [
        ["Be brief.", "Where?", "In Ulm."], ["Be brief.", "Where?", "Ulm!"],
    ]  # fmt: skip
    assert [trace.id for trace in found] == ["t:call", "t:call#1"]


def steps(count: int, *, thought: str = "", text: str = "") -> list[Span]:
    """An agent's loop of tools: each step has all before it, and the last one answers."""
    messages: list[Message] = [Message(role="user", content="Where are they?")]
    found: list[Span] = []
    for number in range(count + 1):
        call = ToolCall(name="find", arguments={"n": number}, id=f"c{number}")
        said = Message(role="assistant", content=text, reasoning=thought, tool_calls=(call,))
        last = Message(role="assistant", content="All in Ulm.")
        output = (said if number < count else last,)
        found.append(span(f"step{number}", ts=float(number), messages=tuple(messages), output=output))
        messages += [
            said.model_copy(update={"reasoning": ""}),
            Message(role="tool", content=f"Ulm {number}", tool_call_id=f"c{number}"),
        ]
    return found


def test_of_a_loop_of_tools_the_last_step_is_the_answer() -> None:
    """Thoughts, which later steps leave out, make no difference; and neither does the order of the spans."""
    spans = steps(5, thought="Hm.", text="Let me look.")
    random.Random(1).shuffle(spans)
    found = joined(spans)
    assert ([trace.id for trace in found.traces], found.steps) == (["t:step5"], 5)


def test_a_loop_that_breaks_off_ends_with_its_last_step() -> None:
    """A call of a tool is then the answer."""
    found = joined(steps(5)[:3])
    assert ([trace.id for trace in found.traces], found.steps) == (["t:step2"], 2)


def test_answers_to_the_user_are_no_steps() -> None:
    """A trace may hold a whole conversation: each of its answers is one, though the next holds it."""
    first = span("a", ts=1.0, **CALL)
    asked = (*first.messages, *first.output, Message(role="user", content="Sure?"))
    second = span("b", ts=2.0, messages=asked, output=(Message(role="assistant", content="Yes."),))
    found = joined([first, second])
    assert ([trace.id for trace in found.traces], found.steps) == (["t:a", "t:b"], 0)


def test_another_history_is_another_answer() -> None:
    """A step stays where the next one's history was rewritten."""
    spans = steps(2)
    summary = Message(role="user", content="[summary]")
    rewritten = (*spans[2].messages[:1], summary, *spans[2].messages[1:])
    spans[2] = spans[2].model_copy(update={"messages": rewritten})
    assert len(joined(spans).traces) == 2


def test_joining_costs_in_proportion_to_what_is_said() -> None:
    """Of a loop of n steps that is n² messages."""
    size = 15
    made = {each: steps(each) for each in (size, 8 * size)}
    assert growth(lambda each: joined(made[each]), size) < 8 * LINEAR


@pytest.mark.parametrize("shape", ["deep", "wide", "pieces"])
def test_joining_costs_in_proportion_to_the_spans(shape: str) -> None:
    """Within each other, beside each other without anything in common, and in pieces."""

    def spans(size: int) -> list[Span]:
        if shape == "pieces":
            return [
                span("call", part=f"p{at}", pieces=(Piece(at_ns=at, number=0, key=f"k{at}", message=ASKED),))
                for at in range(size)
            ]
        return [span(f"s{at}", f"s{at + 1}" if shape == "deep" else "root", **CALL) for at in range(size)]

    made = {each: spans(each) for each in (100, 800)}
    assert growth(lambda each: joined(made[each]), 100) < LINEAR
