"""What has a form is taken out, what only looks like it stays, and it costs no more than the text is long."""

import pytest

from policies.feedback import About, FeedbackEvent
from policies.records import Feedback, Message, ToolCall, Trace
from policies.redaction import Pattern, Redaction
from policies.spans import Piece, Span
from tests.growth import growth

MOST = 12
"""Eight times the size may cost so many times as much: linear, with room for a busy machine."""

ALL = Redaction(Pattern)
KEY = "sk-" + "a1B2" * 6


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Mail ann.lee+x@mail.example.co.uk, please.", "Mail [email], please."),
        ("4111 1111 1111 1111 or 4111-1111-1111-1111 or 378282246310005", "[card] or [card] or [card]"),
        ("4111 1111 1111 1112", "4111 1111 1111 1112"),
        ("at 1763456789012 ms", "at 1763456789012 ms"),
        ("to DE89 3704 0044 0532 0130 00 IS MY ACCOUNT", "to [iban] IS MY ACCOUNT"),
        ("GB82WEST12345698765432.", "[iban]."),
        ("DE88 3704 0044 0532 0130 00", "DE88 3704 0044 0532 0130 00"),
        ("call +49 (30) 123456-78 now", "call [phone] now"),
        ("1 + 12345678 = 12345679", "1 + 12345678 = 12345679"),
        ("from 192.168.0.17.", "from [ip]."),
        ("version 1.2.3.4.5 and 300.1.1.1", "version 1.2.3.4.5 and 300.1.1.1"),
        ("ssn 078-05-1120", "ssn [ssn]"),
        (f"key {KEY} and AKIAIOSFODNN7EXAMPLE", "key [secret] and [secret]"),
        ("eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2QT4", "[secret]"),
        ("ask-for-a-long-explanation-of-it, at 5 @ home", "ask-for-a-long-explanation-of-it, at 5 @ home"),
    ],
)
def test_what_has_a_form_is_taken_out(text: str, wanted: str) -> None:
    """A number with a check only where the check is right. Done again it changes nothing."""
    assert ALL.text(text) == wanted
    assert ALL.text(wanted) == wanted


def test_only_what_is_asked_for_is_taken_out() -> None:
    """Nothing by default."""
    said = "ann@mail.example from 10.0.0.1"
    assert Redaction([Pattern.IP]).text(said) == "ann@mail.example from [ip]"
    assert Redaction([]).text(said) == said
    assert not Redaction([])


def message(text: str) -> Message:
    call = ToolCall(
        name="find", arguments={"ann@a.example": ["b@a.example", {"deep": "c@a.example", "n": 1}]}
    )
    return Message(role="assistant", content=text, reasoning=text, tool_calls=(call,))


def test_every_text_of_an_event_is_redacted_and_nothing_that_identifies_it() -> None:
    """Ids, session and subject are how feedback, caps and erasure find it; keys are names."""
    mail = "write to ann@mail.example"
    trace = Trace(
        id="ann@mail.example",
        source="s",
        ts=1.0,
        messages=(Message(role="user", content=mail),),
        output=(message(mail),),
        reference=mail,
        subject="ann@mail.example",
        feedback=(Feedback(name="thumb", label=mail, comment=mail),),
        tags={"of": mail},
    )
    found = ALL.event(trace)
    assert (found.id, found.subject) == (trace.id, trace.subject)
    left = found.model_copy(update={"id": "", "subject": ""}).model_dump_json()
    assert "mail.example" not in left
    assert left.count("[email]") == 7 + 2
    assert found.output[0].tool_calls[0].arguments == {
        "ann@a.example": ["[email]", {"deep": "[email]", "n": 1}]
    }
    assert Trace.model_validate(found.model_dump()) == found
    span = Span(
        trace_id="t", span_id="s", source="s", ts=1.0, messages=(message(mail),), output=(message(mail),)
    )
    assert "mail.example" not in ALL.event(span).model_dump_json()
    event = FeedbackEvent(
        id="f", source="s", ts=1.0, about=About.EVENT, target="e", said=Feedback(name="n", comment=mail),
        correction=mail,
    )  # fmt: skip
    assert "mail.example" not in ALL.event(event).model_dump_json()


def test_bytes_that_are_no_event_are_redacted_and_stay_bytes() -> None:
    """Dead letters hold what nobody could decode."""
    assert ALL.raw(b"\xff\x00 ann@mail.example \xfe") == b"\xff\x00 [email] \xfe"


@pytest.mark.parametrize(
    "unit",
    ["a", "a@", "a.", "1", "1 ", "4-", "+1 ", "AB12 ", "eyJ", "eyJaaaaaaaa.", "sk-", "-sk-", "1.", "DE89 "],
)
def test_the_cost_is_linear_in_the_text(unit: str) -> None:
    """Strangers write it: eight times the text takes no more than linear work has room for."""
    assert growth(lambda size: ALL.text(unit * (size // len(unit))), 20_000) < MOST


def test_every_text_of_a_span_is_redacted() -> None:
    """What was asked and answered, the other answers to it, and messages that were logged by themselves."""
    mail, turn = "ann@mail.example", Message(role="user", content="I am ann@mail.example")
    span = Span(
        trace_id="t", span_id="s", source="agent", ts=1.0, messages=(turn,), output=(turn,),
        choices=((turn,),), pieces=(Piece(at_ns=1, number=0, key="k", message=turn),), tags={"by": mail},
    )  # fmt: skip
    assert mail in span.model_dump_json()
    assert mail not in Redaction([Pattern.EMAIL]).event(span).model_dump_json()
