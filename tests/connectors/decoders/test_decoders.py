"""Decoding: what each format becomes, and what is refused."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.decoders.chat import UNPARSED
from connectors.decoders.detect import Decoders
from connectors.errors import DecodeError, FatalError
from connectors.events import Found, Skipped, SkipReason
from policies.records import Trace
from tests.connectors.decoders.events import mutated, native, openai


def decode(value: Any, names: str = "auto") -> list[Found]:
    raw = value if isinstance(value, bytes | None) else json.dumps(value).encode()
    return Decoders(names).decode(raw, source="s", timestamp=1.6e9)


def trace(value: Any) -> Trace:
    (found,) = decode(value)
    assert isinstance(found, Trace), str(found)
    return found


def reason(value: Any, names: str = "auto") -> str:
    (found,) = decode(value, names)
    assert isinstance(found, DecodeError)
    return str(found)


def skipped(value: Any) -> SkipReason:
    (found,) = decode(value)
    assert isinstance(found, Skipped), str(found)
    return found.reason


def test_native() -> None:
    """Every key of rlaifd's own JSON arrives; the payload's source becomes a tag."""
    found = trace(
        native(
            1,
            reference="r",
            model="m",
            adapter="a",
            session="x",
            source="app",
            subject="u",
            tools=[{"name": "t"}],
            feedback=[{"name": "thumb", "score": 1}],
            tags={"k": "v"},
        )
    )
    assert (found.id, found.ts, found.source) == ("e-1", 1_700_000_001.0, "s")
    assert (found.reference, found.model, found.adapter, found.session) == ("r", "m", "a", "x")
    assert found.tags == {"source": "app", "k": "v"}
    assert found.feedback[0].score == 1
    assert found.output[0].content == "Open settings, then security (1)."


def test_native_without_id_and_time() -> None:
    """Without an id the canonical payload is the identity; without a time the transport's is taken."""
    event = native()
    del event["id"], event["ts"]
    first, second = trace(event), trace(dict(reversed(event.items())))
    assert first.id == second.id
    assert len(first.id) == 64
    assert first.ts == 1.6e9
    assert trace({**event, "session": "other"}).id != first.id


def test_openai_chat() -> None:
    """A request/response pair: arguments as an object, parts as text, the response's model and id."""
    found = trace(openai(3))
    assert (found.id, found.model, found.subject) == ("chatcmpl-3", "gpt-x-2026-01-01", "u-7")
    assert found.ts == 1_700_000_003
    assert found.adapter is None
    assert [message.role for message in found.messages] == ["system", "user", "assistant", "tool"]
    assert found.messages[1].content == "Who am I?\n[image_url]"
    assert found.messages[2].tool_calls[0].arguments == {"account": 3}
    assert found.output[0].content == "You are Ada."
    assert found.tags == {"tenant": "acme", "finish_reason": "stop"}


def test_openai_choices_are_traces() -> None:
    """Each choice is a trace of its own."""
    choices = [{"message": {"role": "assistant", "content": text}} for text in ("a", "b")]
    found = decode(openai(3, choices=choices))
    assert [each.id for each in found if isinstance(each, Trace)] == ["chatcmpl-3", "chatcmpl-3#1"]


@pytest.mark.parametrize("arguments", ["{not json", '"text"', '{"a": NaN}', '{"a": "\\u0000"}'])
def test_arguments_that_are_no_object_are_kept(arguments: str) -> None:
    """The agent's own malformed call is a trace, with the raw text for the judges to see."""
    event = openai()
    call = event["request"]["messages"][2]["tool_calls"][0]
    call["function"]["arguments"] = arguments
    assert trace(event).messages[2].tool_calls[0].arguments == {UNPARSED: arguments}


def test_a_refusal_is_the_answer() -> None:
    """A refusal takes the place of content."""
    choice = {"message": {"role": "assistant", "content": None, "refusal": "I cannot."}}
    assert trace(openai(choices=[choice])).output[0].content == "I cannot."


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "not UTF-8 at byte 0"),
        (b'{"messages": NaN}', "NaN is not JSON"),
        (b'{"messages": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too long"),
        (b'{"a": 1, "a": 2}', "'a' is written twice"),
        (b'{"a": "x\\u0000y"}', "NUL"),
        (b'{"a": ["\\ud800"]}', "lone surrogate"),
        (b'{"\\udfff": 1}', "lone surrogate"),
        (b"[" * 70 + b"]" * 70, "nested deeper"),
        (b"[" * 100_000, "nested deeper"),
        (b"[]", "empty array"),
        (b"7", "not int"),
        (b'"text"', "not str"),
        ({"hello": 1}, "no decoder knows this format (keys: hello"),
        (native(colour="red"), "unknown key 'colour'"),
        (native(messages=[]), "`messages` must be a list"),
        (native(messages=[{"role": "wizard", "content": "x"}]), "`messages[0]`: role"),
        (native(output=[{"role": "user", "content": "x"}]), "no message of the assistant"),
        (native(output=[{"role": "assistant", "content": 5}]), "must be text or a list"),
        (native(ts=1_763_712_000_000), "seconds since the epoch"),
        (native(ts="yesterday"), "ISO 8601"),
        (native(ts=True), "seconds since the epoch"),
        (native(id="x" * 600), "id: "),
        (native(id=[1]), "`id` must be text"),
        (native(session="x" * 600), "`session` is longer"),
        (native(tags={"a": 1}), "tags.a"),
        (openai(choices=[]), "`response.choices`"),
        ({**openai(), "request": {**openai()["request"], "tools": 7}}, "tools: "),
        (openai(object="chat.completion.chunk"), "chunk of a stream"),
        ({"request": {"messages": []}, "response": 7}, "`response` must be an object"),
    ],
)
def test_what_is_refused(value: Any, words: str) -> None:
    """Each refusal says what is wrong, in one line."""
    text = reason(value)
    assert words in text
    assert "\n" not in text
    assert len(text) < 400


@pytest.mark.parametrize("score", ["NaN", "inf", "-inf", "1e400"])
def test_a_number_that_is_none_is_refused(score: str) -> None:
    """Text passes the strict reader of JSON and becomes a number that no digest and no database can hold."""
    (outcome,) = Decoders().decode(
        json.dumps(native(feedback=[{"name": "thumb", "score": score}])).encode(), source="s", timestamp=None
    )
    assert isinstance(outcome, DecodeError)
    assert str(outcome).startswith("feedback.0.score: ")


def test_what_the_store_cannot_compute_is_refused_by_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever digest or cluster raise over a trace, it is that record's dead letter."""

    def fail(_messages: object) -> str:
        raise ArithmeticError("no such letter")

    monkeypatch.setattr("policies.clusters.cluster_of", fail)
    (outcome,) = Decoders().decode(json.dumps(native()).encode(), source="s", timestamp=None)
    assert str(outcome) == "decoder native failed: ArithmeticError"


def test_times() -> None:
    """ISO 8601 with and without a zone, a byte-order mark, and a numeric id are understood."""
    assert trace(native(ts="2023-11-14T22:13:20Z")).ts == 1_700_000_000
    assert trace(native(ts="2023-11-14T23:13:20+01:00")).ts == 1_700_000_000
    assert trace(native(ts="2023-11-14T22:13:20")).ts == 1_700_000_000
    assert trace(b"\xef\xbb\xbf" + json.dumps(native(id=5)).encode()).id == "5"


@pytest.mark.parametrize("shape", ["array", "ndjson"])
def test_one_bad_event_spoils_no_other(shape: str) -> None:
    """Of many events in a record each stands for itself, in order, a bad one with its own bytes."""
    bad = '{"messages": [1], "output": [1]}' if shape == "array" else '{"messages": '
    events = [json.dumps(native(0)), bad, json.dumps(openai(2))]
    raw = f"[{','.join(events)}]" if shape == "array" else "\n".join(events) + "\n"
    first, second, third = decode(raw.encode())
    assert isinstance(first, Trace)
    assert isinstance(third, Trace)
    assert isinstance(second, DecodeError)
    assert (second.body or b"").replace(b" ", b"") == bad.replace(" ", "").encode()


def test_a_cut_off_document_is_one_dead_letter() -> None:
    """Pretty-printed JSON that was cut off is not taken for one event a line."""
    text = json.dumps([native(0), native(1)], indent=1)[:-3]
    assert "not JSON" in reason(text.encode())


def test_a_named_decoder_is_asked_alone() -> None:
    """With one decoder named, the reason is that decoder's."""
    assert "unknown key 'request'" in reason(openai(), "native")
    assert "`request` must be an object" in reason(native(), "openai_chat")
    with pytest.raises(FatalError, match="unknown decoder 'avro': use auto or one of anthropic, feedback"):
        Decoders("avro")


def test_a_new_decoder_takes_its_place() -> None:
    """Another decoder needs a name, `matches` and `decode`, and nothing else."""

    class Upper:
        name = "upper"

        def matches(self, payload: Any) -> bool:
            return isinstance(payload, dict) and "SAY" in payload

        def decode(self, payload: Any, *, source: str, timestamp: float | None) -> list[Trace]:
            made = native(messages=[{"role": "user", "content": payload["SAY"]}])
            return [Trace(source=source, **made)]

    (found,) = Decoders("auto", known=[Upper()]).decode(b'{"SAY": "hi"}', source="s", timestamp=0.0)
    assert isinstance(found, Trace)


def test_times_do_not_make_revisions() -> None:
    """The same event at another time has the same digest; with other content it has another."""
    assert trace(native(ts=5.0)).digest == trace(native(ts=6.0)).digest
    assert trace(native(ts=5.0)).digest != trace(native(ts=5.0, session="x")).digest


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=8,
)


@given(st.integers(0, 2**32), JSON_VALUES)
@settings(max_examples=1000, deadline=None)
def test_mutated_records_never_crash(seed: int, value: Any) -> None:
    """A damaged record gives at least one outcome, each a trace that can be written out or one reason."""
    rng = random.Random(seed)
    for outcome in decode(mutated(rng, value)):
        if isinstance(outcome, Trace):
            assert outcome.model_dump_json().encode()
            assert len(outcome.digest) == 64
        else:
            assert str(outcome)
            assert " failed: " not in str(outcome), "a decoder's own bug"
