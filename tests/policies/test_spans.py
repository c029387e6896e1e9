"""When a trace of spans is complete, and what its spans become."""

from typing import Any

import pytest

from policies.records import Message
from policies.spans import Complete, JoinRule, OpenTrace, Span, joined

RULE = JoinRule(quiet_s=30.0, oldest_s=600.0)
CALL: dict[str, Any] = {
    "messages": (Message(role="user", content="Where?"),),
    "output": (Message(role="assistant", content="In Ulm."),),
}


def span(name: str, parent: str | None = None, **more: Any) -> Span:
    given = {"trace_id": "t", "source": "s", "ts": 1.0, **more}
    return Span(span_id=name, parent_id=parent, **given)


@pytest.mark.parametrize(
    ("first_at", "last_at", "root_ended", "right"),
    [
        (1000.0, 1000.0, True, Complete.ROOT_ENDED),
        (990.0, 971.0, False, None),
        (900.0, 970.0, False, Complete.QUIET),
        (400.0, 999.0, False, Complete.TOO_OLD),
        (401.0, 999.0, False, None),
    ],
)
def test_completeness(first_at: float, last_at: float, root_ended: bool, right: Complete | None) -> None:
    """The root has ended, or it is quiet for long enough, or it is open for too long."""
    assert RULE.complete(OpenTrace(first_at, last_at, root_ended), 1000.0) is right


def test_a_root_that_has_not_ended_ends_nothing() -> None:
    """Nor does a span that has, within another."""
    assert span("root", ended_at=2.0).ends_trace
    assert not span("root").ends_trace
    assert not span("call", "root", ended_at=2.0).ends_trace


def test_a_call_has_what_stands_around_it() -> None:
    """From the nearest span that it is within, else from the first of its trace; its own goes before."""
    spans = [
        span("root", session="far", subject="u-1"),
        span("agent", "root", session="near"),
        span("call", "agent", **CALL),
        span("own", "agent", session="own", **CALL),
        span("lost", "nobody", **CALL),
        span("first", "elsewhere", ts=0.5, adapter="a-1"),
    ]
    found = {trace.id: trace for trace in joined(spans)}
    assert list(found) == ["t:call", "t:lost", "t:own"]
    told = {name: (trace.session, trace.subject, trace.adapter) for name, trace in found.items()}
    assert told["t:call"] == ("near", "u-1", "a-1")
    assert told["t:own"] == ("own", "u-1", "a-1")
    assert told["t:lost"] == ("near", "u-1", "a-1")


def test_only_calls_become_traces() -> None:
    """In order of time, by the response's id where there is one; joining again gives the same."""
    spans = [
        span("b", "root", ts=3.0, ended_at=4.0, **CALL),
        span("a", "root", ts=2.0, event_id="r-1", **CALL),
        span("tool", "root"),
    ]
    found = joined(spans)
    assert [(trace.id, trace.ts) for trace in found] == [("r-1", 2.0), ("t:b", 4.0)]
    assert joined(spans[::-1]) == found


def test_parents_in_a_circle_end() -> None:
    """Anybody can write such a log."""
    spans = [span("a", "b", **CALL), span("b", "a", session="x"), span("c", "c", **CALL)]
    assert [trace.session for trace in joined(spans)] == ["x", "x"]


def test_the_digest_is_of_what_a_span_says() -> None:
    """Not of who delivered it."""
    assert span("a").digest == span("a", source="other").digest
    assert span("a").digest != span("a", ended_at=2.0).digest
