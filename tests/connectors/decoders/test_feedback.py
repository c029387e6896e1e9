"""rlaifd's own feedback events, and what is refused of them."""

import json
from typing import Any

import pytest

from connectors.decoders.detect import Decoders
from connectors.errors import DecodeError
from connectors.events import Found
from policies.feedback import About, FeedbackEvent, FeedbackKind
from policies.records import Feedback
from tests.connectors.decoders.events import native


def event(**changes: Any) -> dict[str, Any]:
    given = {"about": "event", "target": "resp-1", "kind": "thumb", "score": 1, "ts": 1.7e9, **changes}
    return {key: value for key, value in given.items() if value is not ...}


def decoded(payload: Any, timestamp: float | None = 5.0) -> Found:
    (found,) = Decoders().decode(json.dumps(payload).encode(), source="clicks", timestamp=timestamp)
    return found


def test_an_event_says_what_about_whom_and_by_whom() -> None:
    """It is told apart from an answer by what it is about."""
    found = decoded(event(id="f-1", by="u-7", comment="good", label="up"))
    assert found == FeedbackEvent(
        id="f-1",
        source="clicks",
        ts=1.7e9,
        about=About.EVENT,
        target="resp-1",
        said=Feedback(name="thumb", score=1, label="up", comment="good"),
        by="u-7",
        said_as=FeedbackKind.THUMB,
    )


@pytest.mark.parametrize(
    ("payload", "kind", "name"),
    [
        (event(), FeedbackKind.THUMB, "thumb"),
        (event(kind="rating", name="stars", score=4), FeedbackKind.RATING, "stars"),
        (event(kind=..., name="thumb"), FeedbackKind.THUMB, "thumb"),
        (event(kind=..., name="helpful"), FeedbackKind.OTHER, "helpful"),
        (event(kind="edit", score=..., correction="In Ulm."), FeedbackKind.EDIT, "edit"),
        (event(kind=..., name="user_score", correction="In Ulm."), FeedbackKind.CORRECTION, "user_score"),
        (event(kind="correction", score=...), FeedbackKind.CORRECTION, "correction"),
        (event(about="session", target="s-1", kind="abandon", score=...), FeedbackKind.ABANDON, "abandon"),
        (event(kind="copy", score=...), FeedbackKind.COPY, "copy"),
    ],
)
def test_the_kind_is_told_or_follows_from_the_name(payload: Any, kind: FeedbackKind, name: str) -> None:
    """What brings a text in the place of the answer is a correction, however it is called."""
    found = decoded(payload)
    assert isinstance(found, FeedbackEvent)
    assert (found.form, found.said.name) == (kind, name)


@pytest.mark.parametrize(
    ("payload", "line"),
    [
        (event(kind="thumbs"), "`kind` must be one of thumb, rating, edit, correction"),
        (event(about="answer"), "`about` must be one of event, span, trace, session"),
        (event(kind=...), "neither `kind` nor `name`"),
        (event(score=...), "a thumb has neither `score` nor `label`"),
        (event(stars=5), "unknown key 'stars'"),
        (event(target=7), "target: Input should be a valid string"),
        (event(target=None), "`target` is missing"),
        (event(score="NaN"), "score: Input should be a finite number"),
        (event(ts=1.7e12), "`ts` must be seconds"),
        (event(target="x" * 513), "target: String should have at most 512 characters"),
    ],
)
def test_what_is_wrong_is_named(payload: Any, line: str) -> None:
    """One line, and nothing of it counts."""
    found = decoded(payload)
    assert isinstance(found, DecodeError)
    assert line in str(found)


def test_a_trace_may_bring_a_correction() -> None:
    """What has no place in the trace's own record is an event beside it; the trace is the same as without."""
    said = [{"name": "thumb", "score": 0}, {"kind": "edit", "correction": "In Ulm.", "by": "ann"}]
    trace, event = Decoders().decode(
        json.dumps(native(1, feedback=said)).encode(), source="agent", timestamp=None
    )
    (alone,) = Decoders().decode(
        json.dumps(native(1, feedback=said[:1])).encode(), source="agent", timestamp=None
    )
    assert trace == alone
    assert isinstance(event, FeedbackEvent)
    assert (event.about, event.target, event.ts) == (About.EVENT, "e-1", native(1)["ts"])
    assert (event.form, event.by, event.correction) == (FeedbackKind.EDIT, "ann", "In Ulm.")
    wrong = json.dumps(native(1, feedback=[{"kind": "edit", "text": "In Ulm."}])).encode()
    (refused,) = Decoders().decode(wrong, source="agent", timestamp=None)
    assert "feedback: unknown key 'text'" in str(refused)


def test_the_same_click_delivered_again_is_one() -> None:
    """Without an id of its own it is told by its content."""
    first, second = decoded(event(ts=...), 5.0), decoded(event(ts=...), 9.0)
    assert isinstance(first, FeedbackEvent)
    assert isinstance(second, FeedbackEvent)
    assert (first.id, first.digest) == (second.id, second.digest)
